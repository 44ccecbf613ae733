/**
 * The streaming upload, the one call that is not gRPC-web: a unary message cannot stream a file.
 *
 * Request: `POST` with a multipart/form-data body: `data` (the file), `title`, and `token` unless the viewer's token is in
 * `authorization: Bearer …`. The parts may come in any order; a title in the query string stands in for a missing part.
 *
 * Response: 200 with a `flick.video.v1.PublishResponse` in proto3 JSON, or an error in Connect's JSON form
 * (`{ code, message, details }`) under the HTTP status that Connect gives to its code.
 */
export const uploadPath = "/flick.video.v1.VideoService/Publish";

/** Header of service tokens; `authorization` is the viewer's. */
export const serviceTokenHeader = "x-flick-service-token";
