import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { pageFields } from "../fields.ts";
import { videoObject, videoSchema } from "../objects.ts";
import { actionParam, idParam, pageParams, requiredIdParam } from "../param-schemas.ts";

/** Likes. */
export const favoriteEndpoints = [
  endpoint({
    method: "POST",
    path: "/douyin/favorite/action",
    tag: "Likes",
    summary: "Like or unlike a video",
    description: "What already holds succeeds and changes nothing.",
    access: "required",
    params: v.object({
      video_id: requiredIdParam("The video."),
      action_type: actionParam("like", "unlike"),
    }),
    answer: v.object({}),
    errors: [Reason.VIDEO_NOT_FOUND],
    async handle({ params, call }, { origin }) {
      const favorite = params.action_type === "like";
      await origin.favorites.setFavorite({ videoId: params.video_id, favorite }, call);
      return {};
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/favorite/list",
    tag: "Likes",
    summary: "List what somebody likes",
    description: "Latest like first.",
    access: "required",
    params: v.object({ user_id: idParam("Whose likes; 0 for the caller's."), ...pageParams(100) }),
    answer: v.object({ video_list: v.array(videoSchema), ...pageFields }),
    async handle({ params: { user_id: userId, cursor, count }, call }, { origin }) {
      const { videos, nextCursor, hasMore } = await origin.favorites.listFavorites({ userId, cursor, count }, call);
      return { video_list: videos.map(videoObject), next_cursor: Number(nextCursor), has_more: hasMore };
    },
  }),
];
