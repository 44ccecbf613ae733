import { Hono } from "hono";

import type { AppDeps } from "../app.ts";
import { addEndpoint, type GatewayEnv } from "../endpoint.ts";
import { videoObject } from "../objects.ts";
import { callFrom } from "../origin.ts";
import { countParam, idParam, readParams, requiredIdParam, timeParam } from "../params.ts";
import { uploadFrom, videoUpload } from "../upload.ts";

const maxFeed = 30;
const maxList = 100;

/** The feed, publishing, and the lists of what was published. */
export function videoRoutes({ origin, maxUploadBytes }: AppDeps): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>();
  const noPage = { video_list: [], next_cursor: 0, has_more: false };

  // `cursor` is `latest_time` by the name that it has in every other list.
  addEndpoint(routes, "GET", "/feed", { next_time: 0, ...noPage }, async (c) => {
    const params = await readParams(c.req.raw);
    const request = {
      beforeMs: idParam(params, "cursor") || timeParam(params, "latest_time", Date.now()),
      count: countParam(params, "count", maxFeed),
    };
    const { videos, nextBeforeMs, hasMore } = await origin.videos.getFeed(request, callFrom(c, params));
    const next = Number(nextBeforeMs);
    return { video_list: videos.map(videoObject), next_time: next, next_cursor: next, has_more: hasMore };
  });

  addEndpoint(routes, "GET", "/publish/list", noPage, async (c) => {
    const params = await readParams(c.req.raw);
    const request = {
      userId: idParam(params, "user_id"),
      cursor: idParam(params, "cursor"),
      count: countParam(params, "count", maxList),
    };
    const { videos, nextCursor, hasMore } = await origin.videos.listPublished(request, callFrom(c, params));
    return { video_list: videos.map(videoObject), next_cursor: Number(nextCursor), has_more: hasMore };
  });

  addEndpoint(routes, "POST", "/publish/action", { video_id: 0 }, async (c) => {
    const { videoId } = await origin.publish(uploadFrom(c, videoUpload, maxUploadBytes));
    return { video_id: Number(videoId) };
  });

  addEndpoint(routes, "POST", "/publish/delete", {}, async (c) => {
    const params = await readParams(c.req.raw);
    await origin.videos.deleteVideo({ videoId: requiredIdParam(params, "video_id") }, callFrom(c, params));
    return {};
  });

  return routes;
}
