import { Hono } from "hono";

import type { AppDeps } from "../app.ts";
import { addEndpoint, type GatewayEnv } from "../endpoint.ts";
import { videoObject } from "../objects.ts";
import { callFrom } from "../origin.ts";
import { actionParam, idParam, pageParams, readParams, requiredIdParam } from "../params.ts";

/** Likes. */
export function favoriteRoutes({ origin }: AppDeps): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>();

  addEndpoint(routes, "POST", "/favorite/action", {}, async (c) => {
    const params = await readParams(c.req.raw);
    const request = {
      videoId: requiredIdParam(params, "video_id"),
      favorite: actionParam(params, ["like", "unlike"]) === "like",
    };
    await origin.favorites.setFavorite(request, callFrom(c, params));
    return {};
  });

  const noPage = { video_list: [], next_cursor: 0, has_more: false };
  addEndpoint(routes, "GET", "/favorite/list", noPage, async (c) => {
    const params = await readParams(c.req.raw);
    const request = { userId: idParam(params, "user_id"), ...pageParams(params) };
    const { videos, nextCursor, hasMore } = await origin.favorites.listFavorites(request, callFrom(c, params));
    return { video_list: videos.map(videoObject), next_cursor: Number(nextCursor), has_more: hasMore };
  });

  return routes;
}
