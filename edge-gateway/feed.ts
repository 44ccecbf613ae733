import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { inBackground } from "./background.ts";
import type { GatewayContext } from "./endpoint.ts";
import { createEdgePages, createSharedPages, type ResponseCache } from "./feed-cache-layers.ts";
import { pageOf, type FeedPage } from "./feed-cache-page.ts";
import type { FeedSettings } from "./feed-cache-settings.ts";
import { createFeedCache, type FeedQuery, type FeedRequest } from "./feed-cache.ts";
import { createFeedViews } from "./feed-views.ts";
import { createReadyHeaders } from "./headers.ts";
import type { Log } from "./log.ts";
import type { Origin } from "./origin.ts";
import type { Redis } from "./redis.ts";
import { andThen, type Soon } from "./soon.ts";

/**
 * Answers with a page of the feed: one that is the same for everybody, out of the cache, with what is the viewer's own laid over it.
 *
 * @param token the viewer's; undefined when nobody is signed in.
 */
export type Feed = (c: GatewayContext, query: FeedQuery, token: string | undefined) => Soon<Response>;

/** @param deps.cache the location's cache of whole answers; null where the runtime has none. */
export function createFeed(deps: {
  origin: Origin;
  redis: Redis | null;
  cache: ResponseCache | null;
  settings: () => FeedSettings;
  log: Log;
}): Feed {
  const { origin, redis, cache, settings, log } = deps;
  const pages = createFeedCache({
    edge: createEdgePages(cache),
    shared: createSharedPages(redis),
    async fetchPage(head, { beforeMs, count }, requestId) {
      const asked = { beforeMs: BigInt(beforeMs), count };
      return pageOf(head, await origin.videos.getFeed(asked, { headers: { "x-request-id": requestId } }));
    },
    settings,
    log,
  });

  const pageAs = createFeedViews(origin);
  const headersOf = createReadyHeaders((from) => ({ "content-type": "application/json", "x-cache": from }));
  let hits = 0;

  return (c, query, token) => {
    const request = { requestId: c.get("requestId"), waitUntil: (work: Promise<void>) => inBackground(c, work) };
    return andThen(pages.find(query, request), (served) => {
      const { page, layer, stale } = served;
      if (layer === "memory" && !stale && hits++ % settings().logEvery > 0) c.set("unlogged", true);
      const cameFrom = stale ? `${layer}, stale` : layer;
      c.set("cache", cameFrom);
      return andThen(token === undefined ? page.body : overlaid(page, token, request), (body) => {
        c.set("headed", true);
        return new Response(body, { headers: headersOf(cameFrom, { id: request.requestId, url: c.req.raw.url }) });
      });
    });
  };

  /** Without an answer of the origin a viewer does better with everybody's page than with none. A bad token is an answer. */
  async function overlaid(page: FeedPage, token: string, request: FeedRequest): Promise<Blob> {
    try {
      return await pageAs(page, token, request);
    } catch (error) {
      const reason = reasonOf(error);
      if (!outages.has(reason)) throw error;
      log.warn("a viewer gets everybody's feed", { reason: Reason[reason], request_id: request.requestId });
      return page.body;
    }
  }
}

const outages: ReadonlySet<Reason> = new Set([Reason.UNAVAILABLE, Reason.TIMEOUT, Reason.BUSY]);
