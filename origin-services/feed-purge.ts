import { randomUUID } from "node:crypto";

import type { Change } from "@flick/platform/cdc/change-event.ts";
import { createRedisConnection } from "@flick/platform/redis-connection.ts";
import type { Log } from "@flick/platform/log.ts";
import { feedGenerations, feedGenerationTtlMs } from "@flick/proto/feed-cache.ts";

/** Makes the feed pages worthless that the edge keeps in Redis. */
export interface FeedPurge {
  /** @throws when Redis does not answer: then they may still be served, as long as their age allows it. */
  purge(pages: FeedPages): Promise<void>;
  close(): void;
}

type FeedPages = keyof typeof feedGenerations;

/** @param options.url the Redis that the edge reads over HTTP. */
export function createFeedPurge(options: { url: string; log: Log }): FeedPurge {
  const connection = createRedisConnection({ ...options, timeoutMs: 1_000 });
  return {
    async purge(pages) {
      await connection.send("SET", [feedGenerations[pages], randomUUID(), "PX", String(feedGenerationTtlMs)]);
    },
    close: connection.close,
  };
}

/** The pages that a change has made wrong beyond what they may be for a moment: null for none. */
export function stalePages({ table, before, after }: Change): FeedPages | null {
  if (table !== "videos") return null;
  const [from, to] = [before?.["feed_time"] ?? null, after?.["feed_time"] ?? null];
  if (from === to) return null;
  return from === null ? "head" : "all";
}
