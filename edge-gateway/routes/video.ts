import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { Hono } from "hono";

import type { AppDeps } from "../app.ts";
import { addEndpoint, type GatewayEnv } from "../endpoint.ts";
import { videoObject } from "../objects.ts";
import { callFrom } from "../origin.ts";
import { countParam, idParam, mediaType, queryParams, readParams, timeParam, tokenFrom } from "../params.ts";

const maxFeed = 30;
const maxList = 100;

/** Room in an upload's body for its boundaries and its other fields; the limit is about the file. */
const multipartOverhead = 64 * 1024;

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

  // Nothing of the body is read here. A token or a title in it is for the video service to find.
  addEndpoint(routes, "POST", "/publish/action", { video_id: 0 }, async (c) => {
    const { headers, body, signal, url } = c.req.raw;
    const contentType = headers.get("content-type") ?? "";
    if (mediaType(contentType) !== "multipart/form-data") {
      throw flickError(Reason.UNSUPPORTED_MEDIA_TYPE, "The body must be multipart/form-data.");
    }
    const declared = headers.get("content-length");
    const contentLength = declared === null ? undefined : Number(declared);
    if (contentLength !== undefined && contentLength > maxUploadBytes + multipartOverhead) {
      throw flickError(Reason.TOO_LARGE, `The file may have at most ${maxUploadBytes} bytes.`);
    }
    const params = queryParams(url);
    const { videoId } = await origin.publish({
      body,
      contentType,
      contentLength,
      title: params.get("title"),
      token: tokenFrom(headers, params),
      requestId: c.get("requestId"),
      signal,
    });
    return { video_id: Number(videoId) };
  });

  return routes;
}
