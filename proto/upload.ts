/**
 * Uploads are no gRPC-web calls: a unary message cannot stream a file.
 *
 * Request: `POST` with a multipart/form-data body: the files, text fields, and `token` unless the viewer's token is in
 * `authorization: Bearer …`. The parts may come in any order; a text in the query string stands in for a missing part.
 *
 * Response: 200 with a message in proto3 JSON, or an error in Connect's JSON form (`{ code, message, details }`) under the HTTP
 * status that Connect gives to its code.
 */

/** Publishes a video: `data` (the file) and `title`. The answer is a `flick.video.v1.PublishResponse`. */
export const uploadPath = "/flick.video.v1.VideoService/Publish";

/**
 * Changes the viewer's profile: `avatar` and `background` (files) and `signature`, each of which may be missing. The answer, which does not wait for
 * the pictures to be ready, is a `flick.user.v1.UpdateUserResponse`.
 */
export const profileUploadPath = "/flick.user.v1.UserService/UploadProfile";

/** Header of service tokens; `authorization` is the viewer's. */
export const serviceTokenHeader = "x-flick-service-token";
