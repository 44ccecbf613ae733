import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { headKey, type EdgePages, type SharedPages } from "./feed-cache-layers.ts";
import { createPageMemory } from "./feed-cache-memory.ts";
import type { FeedPage, Generations } from "./feed-cache-page.ts";
import type { FeedSettings } from "./feed-cache-settings.ts";
import type { Log } from "./log.ts";
import { sleep } from "./sleep.ts";
import { andThen, type Soon } from "./soon.ts";

/**
 * Pages of the feed as nobody in particular sees them: from the isolate's memory, the location's Cache API, the Redis of all locations,
 * or the origin. What a page's age means is in {@link FeedSettings}.
 */
export interface FeedCache {
  /** @throws what the origin answered, when no page is left that could be served in its place. */
  find(query: FeedQuery, request: FeedRequest): Soon<Served>;
}

/** @param beforeMs 0 for the head. */
export interface FeedQuery {
  beforeMs: number;
  count: number;
}

export interface FeedRequest {
  /** Keeps the runtime from ending what goes on after the answer. */
  waitUntil(work: Promise<void>): void;
  requestId: string;
}

interface Found {
  page: FeedPage;
  layer: Layer;
}

export interface Served extends Found {
  /** Older than fresh: it is being refreshed, or cannot be. */
  stale: boolean;
}

type Layer = "memory" | "edge" | "shared" | "origin";

interface FeedCacheDeps {
  edge: EdgePages;
  shared: SharedPages;
  /** Asks the origin. Must not depend on the request that needs it: others wait for it too. */
  fetchPage: (
    head: Pick<FeedPage, "key" | "fetchedAt" | "generations">,
    query: FeedQuery,
    requestId: string,
  ) => Promise<FeedPage>;
  settings: () => FeedSettings;
  log: Log;
}

const maxCount = 30;
/** A time not longer ago than this may be a client's "now". */
const recentMs = 60_000;
/** For a page, when there is nothing else: longer than a call to the origin may take. */
const longPatienceMs = 6_000;
/** When there is an older one to serve instead, and when the last try has failed besides. */
const midPatienceMs = 3_000;
const shortPatienceMs = 200;
/** After a failure, before the origin is asked again. */
const retryMs = 500;
/** Of waiting for what another request, or another location, is fetching. */
const firstPollMs = 4;
const longestPollMs = 60;
const sharedPollMs = 50;
/** For so long one location alone asks the origin for a page, and for so long the others wait for it before they ask all the same. */
const leaseMs = 1_000;
const othersMs = 500;
/** Clocks of two locations may differ by this much; a page from further ahead is not ours. */
const clockSkewMs = 5_000;
const maxFailures = 256;
const statsEveryMs = 60_000;

/**
 * Plain data is all that requests share: on Workers none may wait for another's I/O. One of them refreshes a page and puts it into
 * memory, where the others look for it.
 */
export function createFeedCache({ edge, shared, fetchPage, settings, log }: FeedCacheDeps): FeedCache {
  const memory = createPageMemory();
  /** Since when somebody refreshes a page. */
  const refreshing = new Map<string, number>();
  /** Refreshes that failed, until one succeeds. */
  const failures = new Map<string, { at: number; reason: Reason; message: string }>();
  /** As Redis told last; null when it did not answer. */
  let known: Generations | null = null;
  let knownAt = 0;
  const stats = { memory: 0, edge: 0, shared: 0, origin: 0, stale: 0, failed: 0 };
  let statsAt = 0;

  return {
    find({ beforeMs, count }, request) {
      const size = count > 0 ? Math.min(count, maxCount) : maxCount;
      return andThen(findNamed({ beforeMs, count: size }, request), tally);
    },
  };

  function findNamed(query: FeedQuery, request: FeedRequest): Soon<Served> {
    const { beforeMs, count } = query;
    const later = () => findPage(query, `${beforeMs}:${count}`, request);
    if (beforeMs > 0 && beforeMs <= Date.now() - recentMs) return later();
    return andThen(findPage({ beforeMs: 0, count }, headKey(count), request), (head) =>
      // When nothing has come after that time, it asks for the head by another name.
      beforeMs > 0 && beforeMs <= head.page.newestMs ? later() : head,
    );
  }

  function findPage(query: FeedQuery, key: string, request: FeedRequest): Soon<Served> {
    const now = Date.now();
    const kept = memory.get(key);
    if (kept && isYounger(kept, settings().freshMs, now)) return { page: kept, layer: "memory", stale: false };
    return refreshPage(kept, query, key, request);
  }

  async function refreshPage(
    kept: FeedPage | undefined,
    query: FeedQuery,
    key: string,
    request: FeedRequest,
  ): Promise<Served> {
    const now = Date.now();
    const { staleMs } = settings();
    const own = isRefreshing(key, now) || hasFailed(key, now) ? undefined : refresh(query, key, request);
    if (kept && isYounger(kept, staleMs, now)) return { page: kept, layer: "memory", stale: true };
    const patienceMs = !lastResort(key) ? longPatienceMs : failures.has(key) ? shortPatienceMs : midPatienceMs;
    const found = own ? await Promise.race([own, sleep(patienceMs)]) : await waitFor(key, now + patienceMs);
    if (found) return { ...found, stale: false };
    const page = lastResort(key);
    if (page) return { page, layer: "memory", stale: !isYounger(page, staleMs, Date.now()) };
    const { reason, message } = failures.get(key) ?? tookTooLong;
    throw flickError(reason, message);
  }

  /** Until the request that refreshes a page has ended, one way or the other. */
  async function waitFor(key: string, deadline: number): Promise<void> {
    for (let waitMs = firstPollMs; isRefreshing(key, Date.now()) && Date.now() < deadline; waitMs *= 1.5)
      await sleep(Math.min(waitMs, longestPollMs));
  }

  /** A page that is better than none. */
  function lastResort(key: string): FeedPage | undefined {
    const page = memory.get(key);
    // What has just come may have taken long.
    return page && Date.now() - page.fetchedAt < Math.max(settings().errorMs, longPatienceMs) ? page : undefined;
  }

  /** Brings a page into memory. Never rejects: undefined when there is none. */
  function refresh(query: FeedQuery, key: string, request: FeedRequest): Promise<Found | undefined> {
    const since = Date.now();
    refreshing.set(key, since);
    const work = tryToLoad(query, key, request).finally(() => {
      if (refreshing.get(key) === since) refreshing.delete(key);
    });
    request.waitUntil(work.then(() => undefined));
    return work;
  }

  async function tryToLoad(query: FeedQuery, key: string, request: FeedRequest): Promise<Found | undefined> {
    try {
      return await load(query, key, request);
    } catch (error) {
      stats.failed++;
      if (failures.size >= maxFailures) failures.clear();
      const message = "The feed cannot be reached at the moment: try again.";
      failures.set(key, { at: Date.now(), reason: reasonOf(error), message });
      const problem = error instanceof Error ? error.message : String(error);
      log.warn("a page of the feed cannot be fetched", { problem, request_id: request.requestId });
      return undefined;
    }
  }

  async function load(query: FeedQuery, key: string, request: FeedRequest): Promise<Found> {
    const local = await edge.read(key);
    if (local && isUsable(local)) return keep(local, "edge");
    const found = await readShared(key);
    if (found?.page && isUsable(found.page)) {
      request.waitUntil(edge.write(found.page, settings().errorMs));
      return keep(found.page, "shared");
    }
    // Better than none, should the origin be away.
    const older = [local, found?.page, memory.get(key)].filter((page) => page !== null && page !== undefined);
    const newest = older.toSorted((one, other) => other.fetchedAt - one.fetchedAt)[0];
    if (newest) memory.set(newest, limits());

    if (found && !(await shared.lease(key, found.generations, leaseMs))) {
      const theirs = await waitForOthers(key);
      if (theirs) return keep(theirs, "shared");
    }
    const head = { key, fetchedAt: Date.now(), generations: known };
    const page = await fetchPage(head, query, request.requestId);
    const { errorMs } = settings();
    request.waitUntil(shared.write(page, errorMs));
    request.waitUntil(edge.write(page, errorMs));
    return keep(page, "origin");
  }

  /** Another location has the lease: its page will be in Redis soon. Null when it is not. */
  async function waitForOthers(key: string): Promise<FeedPage | null> {
    const deadline = Date.now() + othersMs;
    while (Date.now() < deadline) {
      await sleep(sharedPollMs);
      const found = await readShared(key);
      if (!found) return null;
      if (found.page && isUsable(found.page)) return found.page;
    }
    return null;
  }

  async function readShared(key: string) {
    const askedAt = Date.now();
    const found = await shared.read(key);
    // Of two answers the one that was asked for later counts, whichever comes first.
    if (askedAt >= knownAt) {
      known = found?.generations ?? null;
      knownAt = askedAt;
    }
    return found;
  }

  function keep(page: FeedPage, layer: Layer): Found {
    memory.set(page, limits());
    failures.delete(page.key);
    return { page, layer };
  }

  function limits() {
    const { memoryPages: pages, memoryBytes: bytes } = settings();
    return { pages, bytes };
  }

  function isUsable(page: FeedPage): boolean {
    return isYounger(page, settings().freshMs, Date.now());
  }

  /** Younger than that, and nothing has happened since that makes it wrong. */
  function isYounger({ key, fetchedAt, generations }: FeedPage, ms: number, now: number): boolean {
    const age = now - fetchedAt;
    if (age >= ms || age < -clockSkewMs) return false;
    if (!known || !generations) return !known;
    return generations.all === known.all && (generations.head === known.head || !key.startsWith("head:"));
  }

  /** One that has not ended in time never will: the runtime ended it. */
  function isRefreshing(key: string, now: number): boolean {
    const since = refreshing.get(key);
    return since !== undefined && now - since < longPatienceMs;
  }

  function hasFailed(key: string, now: number): boolean {
    const failure = failures.get(key);
    return failure !== undefined && now - failure.at < retryMs;
  }

  /** Counts what was served, and says once a minute what it came to. */
  function tally(served: Served): Served {
    stats[served.layer]++;
    if (served.stale) stats.stale++;
    const now = Date.now();
    if (statsAt === 0) statsAt = now;
    if (now - statsAt >= statsEveryMs) {
      statsAt = now;
      log.info("feed cache", { ...stats });
    }
    return served;
  }
}

const tookTooLong = { reason: Reason.TIMEOUT, message: "The feed took too long to answer: try again." };
