import { setTimeout as sleep } from "node:timers/promises";

import { decodeChange, type Change, type Row } from "@flick/platform/cdc/change-event.ts";
import type { Revocation } from "@flick/platform/access-token/revocations.ts";
import type { EventLog, Subscription } from "@flick/platform/event-log/event-log.ts";
import type { Log } from "@flick/platform/log.ts";

import type { Cache } from "./cache.ts";
import { cacheKeys } from "./cache-keys.ts";
import type { EdgeRevocations } from "./edge-revocations.ts";
import { stalePages, type FeedPurge } from "./feed-purge.ts";
import { feedDays } from "./video/cached-videos.ts";

const group = "cache";
const concurrency = 64;
const rejoinMs = 2_000;
const closeMs = 1_000;
/** A deletion that fails for longer is left to the values' time to live. */
const retryDelaysMs = [100, 1_000, 5_000, 30_000];

/**
 * Deletes again, after every change of a row, what its writer should have deleted: a writer that died between its commit and its
 * deletions leaves a value that is wrong for as long as the change log takes, and no longer. All origins share one consumer group.
 */
export function invalidateByChanges(options: {
  events: EventLog;
  cache: Cache;
  edge: Pick<EdgeRevocations, "publish">;
  feed: FeedPurge;
  log: Log;
}): { close(): Promise<void> } {
  const { events, cache, edge, feed, log } = options;
  const closing = new AbortController();
  let subscription: Subscription | undefined;
  const joined = join();

  return {
    async close() {
      closing.abort();
      await Promise.race([joined, sleep(closeMs)]);
      await subscription?.close(closeMs);
    },
  };

  /** Tries until it succeeds: an origin starts without Redis too. */
  async function join(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted; failures++) {
      try {
        subscription = await events.subscribe({
          group,
          topics: Object.keys(keysByTable).map((table) => `cdc.${table}`),
          concurrency,
          retryDelaysMs,
          handler: ({ value }) => invalidate(decodeChange(value)),
        });
        return;
      } catch (error) {
        if (failures === 0 && !closing.signal.aborted)
          log.warn("cache invalidation: no event log, trying again", { error });
        await sleep(rejoinMs, undefined, { signal: closing.signal }).catch(() => {});
      }
    }
  }

  async function invalidate(change: Change): Promise<void> {
    const steps = [cache.delete(keysOf(change))];
    if (change.table === "videos") {
      const [before, after] = [placeInFeed(change.before), placeInFeed(change.after)];
      if (after) steps.push(cache.expect(feedDays, cacheKeys.feedDay(after.feedTime), after));
      // What is deleted never comes back: a removal that comes late does no harm.
      else if (before) steps.push(cache.remove(feedDays, cacheKeys.feedDay(before.feedTime), before));
    }
    if (change.table === "token_revocations" && change.op === "c") steps.push(edge.publish(revocationOf(change.after)));
    const done = await Promise.all(steps);
    if (done.includes(false)) throw new Error("the cache cannot be reached");
    // Last: whoever sees the new generation finds nothing old here.
    const stale = stalePages(change);
    if (stale) await feed.purge(stale);
  }
}

/** The keys that a change has made stale, each once; the feed's days are kept in another way. Other tables have none. */
export function keysOf(change: Change): string[] {
  const keys = keysByTable[change.table] ?? (() => []);
  const rows = [change.before, change.after].filter((row) => row !== null);
  return [...new Set(rows.flatMap(keys))];
}

const countsOf = (row: Row) => [cacheKeys.userCounts(id(row, "user_id"))];
const videoCountsOf = (row: Row) => [cacheKeys.videoCounts(id(row, "video_id"))];
const messagesOf = (row: Row) => [cacheKeys.messages(id(row, "low_id"), id(row, "high_id"))];

/** By table: what is cached of a row. */
const keysByTable: Record<string, (row: Row) => string[]> = {
  users: (row) => [cacheKeys.user(id(row, "id"))],
  videos: (row) => [cacheKeys.video(id(row, "id")), cacheKeys.published(id(row, "author_id"))],
  work_counts: countsOf,
  favorites: (row) => [
    cacheKeys.isFavorite(id(row, "video_id"), id(row, "user_id")),
    cacheKeys.favorites(id(row, "user_id")),
  ],
  video_favorite_counts: videoCountsOf,
  user_favorite_counts: countsOf,
  comments: (row) => [cacheKeys.comments(id(row, "video_id"))],
  video_comment_counts: videoCountsOf,
  follows: (row) => [
    cacheKeys.isFollow(id(row, "follower_id"), id(row, "followee_id")),
    cacheKeys.following(id(row, "follower_id")),
    cacheKeys.followers(id(row, "followee_id")),
  ],
  follow_counts: countsOf,
  messages: messagesOf,
  conversations: messagesOf,
  // Nothing of it is cached, but the edge is told.
  token_revocations: () => [],
};

function revocationOf(row: Row): Revocation {
  return {
    id: id(row, "id"),
    userId: id(row, "user_id"),
    jti: String(row["jti"]),
    generation: id(row, "generation"),
    expiresAt: id(row, "expires_at"),
  };
}

function placeInFeed(row: Row | null): { id: number; feedTime: number } | null {
  const feedTime = row?.["feed_time"];
  if (!row || feedTime === null || feedTime === undefined) return null;
  return { id: id(row, "id"), feedTime: Number(feedTime) };
}

/** @throws {TypeError} naming the column, when there is no number in it. */
function id(row: Row, column: string): number {
  const value = Number(row[column] ?? Number.NaN);
  if (!Number.isSafeInteger(value)) throw new TypeError(`a change has no number in ${column}`);
  return value;
}
