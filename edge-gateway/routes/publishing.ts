import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { publishEventsPath, streamContentType } from "@flick/proto/stream.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { choiceField, textField, wholeField } from "../fields.ts";
import { statusName } from "../objects.ts";
import { idParam, requiredIdParam } from "../param-schemas.ts";

const progressFields = {
  video_id: wholeField("The video.", 7_312_345_678_901_234),
  percent: wholeField("How much of the processing is done, 0 to 100.", 40),
  reason: textField("Why it failed, a sentence for its author; else empty.", ""),
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
    answer: v.object({ ...progressFields, status: choiceField(states, "Its state.", "processing") }),
    errors: [Reason.VIDEO_NOT_FOUND],
    async handle({ params, call }, { origin }) {
      const found = await origin.videos.getPublishStatus({ videoId: params.video_id }, call);
      const { videoId, status, percent, reason } = found;
      return { video_id: Number(videoId), status: statusName(status), percent, reason };
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
    events: v.object({ ...progressFields, status: choiceField([...states, "deleted"], "Its state.", "processing") }),
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
    answer: v.object({}),
    errors: [Reason.VIDEO_NOT_FOUND],
    async handle({ params, call }, { origin }) {
      await origin.videos.retryVideo({ videoId: params.video_id }, call);
      return {};
    },
  }),
];
