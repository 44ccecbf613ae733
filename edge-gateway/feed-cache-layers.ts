import { feedGenerations } from "@flick/proto/feed-cache.ts";

import { decodePage, encodePage, type FeedPage, type Generations } from "./feed-cache-page.ts";
import type { Redis } from "./redis.ts";

/** The pages of one location, which its isolates share. */
export interface EdgePages {
  /** Whatever page is there, of any age. */
  read(key: string): Promise<FeedPage | null>;
  write(page: FeedPage, ttlMs: number): Promise<void>;
}

/** What is needed of the Cache API. */
export interface ResponseCache {
  match(url: string): Promise<Response | undefined>;
  put(url: string, response: Response): Promise<void>;
}

/** The pages that all locations share. */
export interface SharedPages {
  /** The page that is there, of any age, and the generations at the same moment; null when Redis is away. */
  read(key: string): Promise<{ page: FeedPage | null; generations: Generations } | null>;
  /** May the caller ask the origin? One of all locations may, for so long or until the generation changes; all of them when Redis is away. */
  lease(key: string, generations: Generations, ms: number): Promise<boolean>;
  write(page: FeedPage, ttlMs: number): Promise<void>;
}

/** A layer that fails is left alone for a while: a page must not cost its timeout every time. */
const restMs = 5_000;
/** A larger page is kept in memory only. */
const maxBytes = 128 * 1024;
/** Later pages have as many keys as that, whatever clients ask for: those that fall on one take turns. */
const laterPages = 512;

/** @param cache null where the runtime has none, as Bun. */
export function createEdgePages(cache: ResponseCache | null): EdgePages {
  const attempt = createBreaker();
  /** Never fetched: the Cache API wants its keys to be URLs. */
  const urlOf = (key: string) => `https://feed.flick.invalid/${encodeURIComponent(key)}`;
  return {
    async read(key) {
      if (!cache) return null;
      const text = await attempt(async () => (await cache.match(urlOf(key)))?.text());
      return text === undefined ? null : decodePage(text, key);
    },
    async write(page, ttlMs) {
      const seconds = Math.ceil(ttlMs / 1000);
      if (!cache || seconds === 0 || page.body.size > maxBytes) return;
      const headers = { "cache-control": `public, max-age=${seconds}`, "content-type": "text/plain" };
      await attempt(async () => cache.put(urlOf(page.key), new Response(await encodePage(page), { headers })));
    },
  };
}

/** @param redis null where there is none. */
export function createSharedPages(redis: Redis | null): SharedPages {
  const attempt = createBreaker();
  return {
    async read(key) {
      if (!redis) return null;
      const keys = [feedGenerations.head, feedGenerations.all, pageKey(key)];
      const found = await attempt(() => redis.mget<(string | null)[]>(...keys));
      if (!found) return null;
      const [head, all, text] = found;
      return { generations: { head: head ?? "", all: all ?? "" }, page: text ? decodePage(text, key) : null };
    },
    async lease(key, { head, all }, ms) {
      if (!redis) return true;
      const lease = `edge::feed::lease::${key}::${head}::${all}`;
      const answer = await attempt(() => redis.set(lease, "1", { nx: true, px: Math.max(1, ms) }));
      return answer !== null;
    },
    async write(page, ttlMs) {
      if (!redis || ttlMs === 0 || page.body.size > maxBytes) return;
      await attempt(async () => redis.set(pageKey(page.key), await encodePage(page), { px: ttlMs }));
    },
  };
}

export const headKey = (count: number): string => `head:${count}`;

/** The head has keys of its own; the bound on later pages holds although clients choose their times freely. */
function pageKey(key: string): string {
  return `edge::feed::page::${key.startsWith("head:") ? key : hash(key) % laterPages}`;
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let sum = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) sum = Math.imul(sum ^ text.charCodeAt(at), 0x01000193) >>> 0;
  return sum;
}

/** Runs what may fail; undefined when it did, and for a while afterwards without trying. */
function createBreaker() {
  let restsUntil = 0;
  return async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    if (Date.now() < restsUntil) return undefined;
    try {
      return await work();
    } catch {
      restsUntil = Date.now() + restMs;
      return undefined;
    }
  };
}
