import { afterAll, afterEach, beforeAll, beforeEach } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { createLog } from "@flick/platform/log.ts";
import { RedisClient } from "bun";

import { createCache, type Cache } from "./cache.ts";
import { flagKind, hashKind, listKind } from "./cache-kinds.ts";
import type { CacheSettings } from "./config.ts";

export interface Profile {
  name: string;
  age: number;
}

export const profiles = hashKind<Profile>({
  key: (id) => `profile::${id}`,
  fields: { name: String, age: Number },
});
export const flags = flagKind((id) => `flag::${id}`);
export const numbers = listKind<number>({
  most: 5,
  encode: (entry) => ({ score: entry, member: String(entry) }),
  decode: (member) => Number(member),
});

export const ann = { name: "Ann", age: 30 };
export const bob = { name: "Bob \u{1F600} \0\r\n", age: 2 ** 53 - 1 };

/** What a test of the cache works with: a Redis of the file's own, which is empty when a test begins. */
export interface CacheTest {
  server: TestServer;
  redis: RedisClient;
  cache: Cache;
  /** The machine may be busy: an answer has more time than in real life. */
  newCache(timeoutMs?: number, settings?: () => CacheSettings): Promise<Cache>;
}

/** The fields of the result are there while a test runs. */
export function setUpCacheTests(): CacheTest {
  const caches: Cache[] = [];
  let dir: string;
  const t = { newCache } as CacheTest;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-cache-"));
    t.server = await startRedis({ dir });
  });
  afterAll(async () => {
    await t.server.stop();
    await rm(dir, { recursive: true });
  });
  beforeEach(async () => {
    t.redis = new RedisClient(t.server.url);
    await t.redis.send("FLUSHALL", []);
    t.cache = await newCache();
  });
  afterEach(() => {
    t.redis.close();
    for (const each of caches.splice(0)) each.close();
  });
  return t;

  async function newCache(timeoutMs = 2_000, settings?: () => CacheSettings): Promise<Cache> {
    const log = createLog({ program: "test", write: () => {} });
    const made = createCache({ url: t.server.url, log, timeoutMs, ...(settings ? { settings } : {}) });
    caches.push(made);
    await until(
      async () => (await made.values(flags, [0], async () => new Map([[0, true]]))) && made.stats().roundTrips > 0,
    );
    return made;
  }
}

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("waited 10 s in vain");
    await Bun.sleep(10);
  }
}

/** A table of profiles that counts how often it is read. */
export function table(rows: Record<number, Profile>) {
  const reads: number[][] = [];
  const load = async (ids: number[]) => {
    reads.push(ids);
    return new Map(ids.flatMap((id) => (rows[id] ? [[id, { ...rows[id] }] as const] : [])));
  };
  return { reads, rows, load };
}
