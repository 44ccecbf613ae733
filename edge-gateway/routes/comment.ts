import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { requireFeature } from "../features.ts";
import { emptyOf, pageFields } from "../fields.ts";
import { commentObject, commentSchema } from "../objects.ts";
import { actionIs, actionMessage, pageParams, requiredIdParam, textParam } from "../param-schemas.ts";

const actions = ["post", "delete"] as const;
const video = requiredIdParam("The video.");

/** Comments on videos. */
export const commentEndpoints = [
  endpoint({
    method: "POST",
    path: "/douyin/comment/action",
    tag: "Comments",
    summary: "Post or delete a comment",
    description:
      "The comment's author may delete it, and so may the video's. Deleting one that is gone succeeds. After a deletion `comment` is empty.",
    access: "required",
    params: v.variant(
      "action_type",
      [
        v.object({
          video_id: video,
          action_type: actionIs(actions, "post"),
          comment_text: textParam("What to post.", "so good 🎬", { maxLength: 500 }),
        }),
        v.object({
          video_id: video,
          action_type: actionIs(actions, "delete"),
          comment_id: requiredIdParam("Which to delete.", 7_312_345_678_905_555),
        }),
      ],
      actionMessage(...actions),
    ),
    limit: "comment",
    answer: v.object({ comment: commentSchema }),
    errors: [Reason.VIDEO_NOT_FOUND, Reason.COMMENT_NOT_FOUND, Reason.COMMENT_NOT_YOURS, Reason.TURNED_OFF],
    async handle({ params, call }, { origin, config }) {
      const videoId = params.video_id;
      if (params.action_type === "delete") {
        await origin.comments.deleteComment({ videoId, commentId: params.comment_id }, call);
        return { comment: emptyOf(commentSchema) };
      }
      requireFeature(config, "comments");
      const { comment } = await origin.comments.createComment({ videoId, content: params.comment_text }, call);
      return { comment: commentObject(comment) };
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/comment/list",
    tag: "Comments",
    summary: "List a video's comments",
    description: "Newest first; none for a video that there is not.",
    access: "optional",
    params: v.object({ video_id: video, ...pageParams(100) }),
    answer: v.object({ comment_list: v.array(commentSchema), ...pageFields }),
    async handle({ params: { video_id: videoId, cursor, count }, call }, { origin }) {
      const { comments, nextCursor, hasMore } = await origin.comments.listComments({ videoId, cursor, count }, call);
      return { comment_list: comments.map(commentObject), next_cursor: Number(nextCursor), has_more: hasMore };
    },
  }),
];
