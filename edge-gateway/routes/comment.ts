import { Hono } from "hono";

import type { AppDeps } from "../app.ts";
import { addEndpoint, type GatewayEnv } from "../endpoint.ts";
import { commentObject } from "../objects.ts";
import { callFrom } from "../origin.ts";
import { actionParam, pageParams, readParams, requiredIdParam, requiredParam } from "../params.ts";

/** Comments on videos. */
export function commentRoutes({ origin }: AppDeps): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>();
  const noComment = { comment: commentObject() };

  addEndpoint(routes, "POST", "/comment/action", noComment, async (c) => {
    const params = await readParams(c.req.raw);
    const call = callFrom(c, params);
    const videoId = requiredIdParam(params, "video_id");
    if (actionParam(params, ["post", "delete"]) === "delete") {
      await origin.comments.deleteComment({ videoId, commentId: requiredIdParam(params, "comment_id") }, call);
      return noComment;
    }
    const content = requiredParam(params, "comment_text");
    const { comment } = await origin.comments.createComment({ videoId, content }, call);
    return { comment: commentObject(comment) };
  });

  const noPage = { comment_list: [], next_cursor: 0, has_more: false };
  addEndpoint(routes, "GET", "/comment/list", noPage, async (c) => {
    const params = await readParams(c.req.raw);
    const request = { videoId: requiredIdParam(params, "video_id"), ...pageParams(params) };
    const { comments, nextCursor, hasMore } = await origin.comments.listComments(request, callFrom(c, params));
    return { comment_list: comments.map(commentObject), next_cursor: Number(nextCursor), has_more: hasMore };
  });

  return routes;
}
