import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { VideoStatus } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { publishEventsPath, streamContentType } from "@flick/proto/stream.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { choiceField, textField, wholeField } from "../fields.ts";
import { statusName } from "../objects.ts";
import { idParam, requiredIdParam, wholeParam } from "../param-schemas.ts";

const progressFields = {
  video_id: wholeField("The video.", 7_312_345_678_901_234),
  percent: wholeField("How much of the processing is done, 0 to 100.", 40),
  reason: textField("Why it failed, a sentence for its author; else empty.", ""),
};
const coverFields = {
  cover_status: choiceField(
    ["", "processing", "ready", "failed"],
    "Of the cover that the author chose last: the one before stays until it is `ready`, and when it has `failed`. Empty when the author has chosen none.",
    "ready",
  ),
  cover_time_ms: wholeField("The moment that the author chose last, else the one that the cover shows.", 4200),
  cover_reason: textField("Why that cover could not be made; else empty.", ""),
};
const states = ["", "uploaded", "processing", "ready", "failed"] as const;

/** What becomes of a video after it was published, for its author. */
export const publishingEndpoints = [
  endpoint({
    method: "GET",
    path: "/douyin/publish/status",
    tag: "Videos",
    summary: "See how far a video is",
    access: "required",
    params: v.object({ video_id: requiredIdParam("One of the caller's videos.") }),
    answer: v.object({ ...progressFields, status: choiceField(states, "Its state.", "processing"), ...coverFields }),
    errors: [Reason.VIDEO_NOT_FOUND],
    async handle({ params, call }, { origin }) {
      const found = await origin.videos.getPublishStatus({ videoId: params.video_id }, call);
      const { videoId, status, percent, reason, coverStatus, coverTimeMs, coverReason } = found;
      return {
        video_id: Number(videoId),
        status: statusName(status),
        percent,
        reason,
        cover_status: coverStatusName(coverStatus),
        cover_time_ms: Number(coverTimeMs),
        cover_reason: coverReason,
      };
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/publish/events",
    tag: "Videos",
    summary: "Follow one's videos while they are processed",
    description:
      "Server-sent events: first the caller's newest 20 videos as they are, then every state that one of them, or a new one, gets into.",
    access: "required",
    params: v.object({ video_id: idParam("Only this video; 0 for all of the caller's.") }),
    answer: v.object({}),
    events: v.object({
      ...progressFields,
      status: choiceField([...states, "deleted"], "Its state.", "processing"),
      ...coverFields,
    }),
    errors: [Reason.VIDEO_NOT_FOUND],
    async handle({ params, token, c }, { origin }) {
      // A proxy that gathers what it passes on would hold events back.
      const events = { "content-type": streamContentType, "x-accel-buffering": "no" };
      if (c.req.method === "HEAD") return c.newResponse(null, 200, events);
      const query = { video_id: params.video_id > 0n ? String(params.video_id) : undefined };
      const request = { token, query, requestId: c.get("requestId"), signal: c.req.raw.signal };
      return c.newResponse(await origin.stream(publishEventsPath, request), 200, events);
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/publish/retry",
    tag: "Videos",
    summary: "Have a video that failed processed once more",
    description:
      "One that waits for its next attempt is taken at once; one that is being processed, or is ready, stays as it is.",
    access: "required",
    params: v.object({ video_id: requiredIdParam("One of the caller's videos.") }),
    // It costs as much as another video.
    limit: "publish",
    answer: v.object({}),
    errors: [Reason.VIDEO_NOT_FOUND],
    async handle({ params, call }, { origin }) {
      await origin.videos.retryVideo({ videoId: params.video_id }, call);
      return {};
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/publish/cover",
    tag: "Videos",
    summary: "Choose another moment for a cover",
    description:
      "Of a video that is ready. The still shows the picture at that moment, the preview begins there. They come a few seconds later, under new addresses: `cover_status` in `/publish/status/` tells when. The newest wish counts; the same one again changes nothing, unless it has failed.",
    access: "required",
    params: v.object({
      video_id: requiredIdParam("One of the caller's videos."),
      time_ms: wholeParam("Milliseconds from the beginning of the video, before its end (`duration_ms`).", 4200),
    }),
    limit: "cover",
    answer: v.object({}),
    errors: [Reason.VIDEO_NOT_FOUND, Reason.VIDEO_NOT_READY],
    async handle({ params, call }, { origin }) {
      await origin.videos.chooseCover({ videoId: params.video_id, timeMs: params.time_ms }, call);
      return {};
    },
  }),
];

/** Of those that a cover may be in. */
function coverStatusName(status: VideoStatus) {
  const name = statusName(status);
  return name === "uploaded" ? "processing" : name;
}
