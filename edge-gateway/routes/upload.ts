import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { Upload } from "@flick/proto/gen/flick/video/v1/upload_pb.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { requireFeature } from "../features.ts";
import { textField, wholeField } from "../fields.ts";
import { idParam, requiredIdParam, textParam } from "../param-schemas.ts";

/** Object storage puts the parts together meanwhile. */
const completeTimeoutMs = 30_000;

const partSchema = v.pipe(
  v.object({
    part_number: wholeField("From 1: the bytes of the file from `(part_number - 1) * part_size`.", 3),
    size: wholeField("Exactly so many bytes.", 8_388_608),
    url: textField(
      "PUT the bytes here, with `Content-Type` as the upload says. It works until `urls_expire_at`, for this part and size only.",
      "https://bucket.example/raw/7?partNumber=3&uploadId=A1&x-oss-signature=0f",
    ),
  }),
  v.metadata({ title: "MissingPart" }),
);

const uploadFields = {
  upload_id: wholeField("The upload; 0 when the caller has a video of this file already.", 7_312_345_678_901_234),
  video_id: wholeField("The video, once there is one; 0 before.", 0),
  part_size: wholeField("Bytes of every part but the last.", 8_388_608),
  content_type: textField("What every part has to be sent with.", "video/mp4"),
  uploaded_parts: v.array(wholeField("Number of a part that is there.", 1)),
  parts: v.array(partSchema),
  urls_expire_at: wholeField("In milliseconds since 1970; ask again for new addresses.", 1_790_000_900_000),
  expires_at: wholeField(
    "In milliseconds since 1970: the upload is given up then, unless somebody asks for it before.",
    1_790_086_400_000,
  ),
};

function uploadObject(upload: Upload) {
  return {
    upload_id: Number(upload.uploadId),
    video_id: Number(upload.videoId),
    part_size: Number(upload.partBytes),
    content_type: upload.contentType,
    uploaded_parts: upload.storedParts,
    parts: upload.missingParts.map(({ number, size, url }) => ({ part_number: number, size: Number(size), url })),
    urls_expire_at: Number(upload.urlsExpireMs),
    expires_at: Number(upload.expiresMs),
  };
}

const which = requiredIdParam("Which upload.");

/** Uploads whose parts go straight to object storage, and go on after any break. */
export const uploadEndpoints = [
  endpoint({
    method: "POST",
    path: "/douyin/upload",
    tag: "Videos",
    summary: "Begin a resumable upload, or go on with one",
    description:
      "Answers with an address for every part that is not there yet; PUT them in any order, several at once. After a break the same call, or one with `upload_id`, tells what is left. A file with the `sha256` of one of the caller's videos is not uploaded again: `video_id` names that video then.",
    access: "required",
    params: v.object({
      upload_id: idParam("An upload to go on with; the rest is not looked at then."),
      title: v.optional(textParam("What to call the video.", "My day", { maxLength: 100 }), ""),
      size: idParam("Bytes of the file.", 20_971_520),
      content_type: v.optional(
        textParam("`video/mp4`, `video/quicktime`, `video/webm` or `video/x-matroska`: what the file is.", "video/mp4"),
        "",
      ),
      sha256: v.optional(
        textParam(
          "SHA-256 of the file in hexadecimal digits. Without it a broken upload is found by its id only.",
          "9f".repeat(32),
          {
            minLength: 64,
            maxLength: 64,
          },
        ),
        "",
      ),
    }),
    answer: v.object(uploadFields),
    errors: [Reason.TOO_LARGE, Reason.NOT_A_VIDEO, Reason.UPLOAD_NOT_FOUND, Reason.RATE_LIMITED, Reason.TURNED_OFF],
    async handle({ params, call }, { origin, config }) {
      requireFeature(config, "publishing");
      const { upload_id: uploadId, title, size, content_type: contentType, sha256 } = params;
      return uploadObject(await origin.uploads.beginUpload({ uploadId, title, size, contentType, sha256 }, call));
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/upload/complete",
    tag: "Videos",
    summary: "Publish what was uploaded",
    description: "Once all parts are there. Completing again gives the same answer.",
    access: "required",
    params: v.object({ upload_id: which }),
    answer: v.object({ video_id: wholeField("The new video's id.", 7_312_345_678_901_234) }),
    limit: "publish",
    errors: [Reason.UPLOAD_NOT_FOUND, Reason.UPLOAD_INCOMPLETE, Reason.NOT_A_VIDEO, Reason.TURNED_OFF],
    async handle({ params, call }, { origin, config }) {
      requireFeature(config, "publishing");
      const patient = { ...call, timeoutMs: completeTimeoutMs };
      const { videoId } = await origin.uploads.completeUpload({ uploadId: params.upload_id }, patient);
      return { video_id: Number(videoId) };
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/upload/abort",
    tag: "Videos",
    summary: "Give an unfinished upload up",
    description: "Its parts are deleted. Aborting what is gone succeeds.",
    access: "required",
    params: v.object({ upload_id: which }),
    answer: v.object({}),
    async handle({ params, call }, { origin }) {
      await origin.uploads.abortUpload({ uploadId: params.upload_id }, call);
      return {};
    },
  }),
];
