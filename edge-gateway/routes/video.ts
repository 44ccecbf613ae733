import type { CallOptions } from "@connectrpc/connect";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { requireFeature } from "../features.ts";
import { pageFields, wholeField } from "../fields.ts";
import { videoObject, videoSchema } from "../objects.ts";
import type { Origin } from "../origin.ts";
import { countParam, fileParam, idParam, pageParams, requiredIdParam, textParam, timeParam } from "../param-schemas.ts";
import { uploadFrom } from "../upload-request.ts";

/** The feed, publishing, and the lists of what was published. */
export const videoEndpoints = [
  endpoint({
    method: "GET",
    path: "/douyin/feed",
    tag: "Videos",
    summary: "Read the feed",
    description:
      "What is ready, newest first. Nobody need be signed in; for who is, `is_favorite` and `is_follow` are theirs.",
    access: "optional",
    params: v.object({
      cursor: idParam("`latest_time` by the name that it has in every other list.", 1_790_000_000_123),
      latest_time: timeParam(
        "Where to begin: `next_time` of the page before, or a time in seconds or milliseconds. Missing, 0, negative or in the future means now.",
      ),
      count: countParam("How many videos.", 30),
    }),
    answer: v.object({
      video_list: v.array(videoSchema),
      next_time: wholeField("`latest_time` of the next page: that of the oldest video in this one.", 1_790_000_000_123),
      ...pageFields,
    }),
    handle(request, { origin, config, feed }) {
      const { cursor, latest_time: latest, count } = request.params;
      const beforeMs = cursor || latest;
      if (config.current().feed.cached) return feed(request.c, { beforeMs: Number(beforeMs), count }, request.token);
      return uncachedFeed(origin, { beforeMs, count }, request.call);
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/publish/list",
    tag: "Videos",
    summary: "List what somebody published",
    description: "Newest first. One's own also while they are processed, and why one failed.",
    access: "required",
    params: v.object({ user_id: idParam("Whose videos; 0 for the caller's."), ...pageParams(100) }),
    answer: v.object({ video_list: v.array(videoSchema), ...pageFields }),
    async handle({ params: { user_id: userId, cursor, count }, call }, { origin }) {
      const { videos, nextCursor, hasMore } = await origin.videos.listPublished({ userId, cursor, count }, call);
      return { video_list: videos.map(videoObject), next_cursor: Number(nextCursor), has_more: hasMore };
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/publish/action",
    tag: "Videos",
    summary: "Publish a video",
    description: "Its author sees it at once, other people when it is ready.",
    access: "required",
    params: v.object({ title: textParam("What to call it.", "My day", { maxLength: 100 }) }),
    files: v.object({ data: fileParam("The video: MP4, MOV, MKV or WebM.") }),
    limit: "publish",
    answer: v.object({ video_id: wholeField("The new video's id.", 7_312_345_678_901_234) }),
    errors: [Reason.MISSING_FILE, Reason.NOT_A_VIDEO, Reason.TURNED_OFF],
    async upload(c, { origin, config, maxUploadBytes }) {
      requireFeature(config, "publishing");
      const { videoId } = await origin.publish(uploadFrom(c, "title", maxUploadBytes));
      return { video_id: Number(videoId) };
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/publish/delete",
    tag: "Videos",
    summary: "Delete one of one's videos",
    access: "required",
    params: v.object({ video_id: requiredIdParam("Which.") }),
    answer: v.object({}),
    errors: [Reason.VIDEO_NOT_FOUND],
    async handle({ params, call }, { origin }) {
      await origin.videos.deleteVideo({ videoId: params.video_id }, call);
      return {};
    },
  }),
];

async function uncachedFeed(origin: Origin, asked: { beforeMs: bigint; count: number }, call: CallOptions) {
  const { videos, nextBeforeMs, hasMore } = await origin.videos.getFeed(asked, call);
  const next = Number(nextBeforeMs);
  return { video_list: videos.map(videoObject), next_time: next, next_cursor: next, has_more: hasMore };
}
