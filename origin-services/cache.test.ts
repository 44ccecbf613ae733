import { describe, expect, test } from "bun:test";

import { defaultCacheSettings, type CacheSettings } from "./config.ts";
import { listKind } from "./cache-kinds.ts";
import { ann, bob, flags, numbers, profiles, setUpCacheTests, table, until } from "./testing-cache.ts";

const t = setUpCacheTests();

describe("values", () => {
  test("are loaded once and come back as they were, in a batch of hits and misses", async () => {
    const { reads, load } = table({ 1: ann, 2: bob });
    expect(await t.cache.values(profiles, [1], load)).toEqual(new Map([[1, ann]]));
    const both = await t.cache.values(profiles, [1, 2, 3], load);
    expect(both.get(1)).toEqual(ann);
    expect(both.get(2)).toEqual(bob);
    expect(both.has(3)).toBe(false);
    expect(reads).toEqual([[1], [2, 3]]);
  });

  test("that do not exist are remembered as such, for half a minute", async () => {
    const { reads, rows, load } = table({});
    await t.cache.values(profiles, [7], load);
    rows[7] = ann;
    expect((await t.cache.values(profiles, [7], load)).size).toBe(0);
    expect(reads).toHaveLength(1);
    const ttl = await t.redis.pttl("profile::7");
    expect(ttl).toBeGreaterThan(20_000);
    expect(ttl).toBeLessThanOrEqual(36_000);
    await t.cache.delete(["profile::7"]);
    expect((await t.cache.values(profiles, [7], load)).get(7)).toEqual(ann);
  });

  test("live as long as the settings say, from the moment that these change", async () => {
    let settings: CacheSettings = { ...defaultCacheSettings, jitterPercent: 0 };
    const set = await t.newCache(2_000, () => settings);
    const ttlOf = async (id: number) => {
      await set.values(flags, [id], async () => new Map([[id, true]]));
      return t.redis.pttl(`flag::${id}`);
    };
    expect(await ttlOf(1)).toBeWithin(290_000, 300_001);
    settings = { ...settings, ttlPercent: 10, unknownSeconds: 3 };
    expect(await ttlOf(2)).toBeWithin(20_000, 30_001);
    await set.values(profiles, [3], async () => new Map());
    expect(await t.redis.pttl("profile::3")).toBeWithin(1, 3_001);
  });

  test("are read from the database while reads are turned off, and from the cache afterwards", async () => {
    let settings = defaultCacheSettings;
    const set = await t.newCache(2_000, () => settings);
    const { reads, load } = table({ 1: ann });
    await set.values(profiles, [1], load);
    settings = { ...settings, reads: false };
    expect(await set.values(profiles, [1], load)).toEqual(new Map([[1, ann]]));
    expect(reads).toHaveLength(2);
    settings = defaultCacheSettings;
    await set.values(profiles, [1], load);
    expect(reads).toHaveLength(2);
  });

  test("end at different times, around what their kind says", async () => {
    const ids = Array.from({ length: 200 }, (_, id) => id + 1);
    await t.cache.values(flags, ids, async () => new Map(ids.map((id) => [id, true])));
    const ttls = await Promise.all(ids.map((id) => t.redis.pttl(`flag::${id}`)));
    expect(Math.min(...ttls)).toBeGreaterThan(230_000);
    expect(Math.max(...ttls)).toBeLessThanOrEqual(360_000);
    expect(Math.max(...ttls) - Math.min(...ttls)).toBeGreaterThan(60_000);
  });

  test("of a thousand keys take two round trips, as those of one do", async () => {
    const cost = async (ids: number[]) => {
      const before = t.cache.stats().roundTrips;
      await t.cache.values(flags, ids, async (missing) => new Map(missing.map((id) => [id, false])));
      return t.cache.stats().roundTrips - before;
    };
    const many = Array.from({ length: 1000 }, (_, id) => id + 100);
    expect([await cost([1]), await cost(many)]).toEqual([2, 2]);
    expect([await cost([1]), await cost(many)]).toEqual([1, 1]);
    expect(cost([...many, 5])).rejects.toThrow("at most 1000 keys");
  });

  test("larger than 64 KiB are not stored", async () => {
    const { reads, load } = table({ 1: { name: "x".repeat(70_000), age: 1 } });
    await t.cache.values(profiles, [1], load);
    expect((await t.cache.values(profiles, [1], load)).get(1)?.age).toBe(1);
    expect(reads).toHaveLength(2);
    expect(await t.redis.exists("lease::profile::1")).toBe(false);
  });

  test("of another form are read from the database", async () => {
    await t.redis.send("HSET", ["profile::1", "name", "Old"]);
    const { load } = table({ 1: ann });
    expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(ann);
  });
});

describe("leases", () => {
  test("a slow reader cannot store what it read before a writer's delete", async () => {
    const rows = { 1: { ...ann } };
    const slow = Promise.withResolvers<void>();
    const hasRead = Promise.withResolvers<void>();
    const reading = t.cache.values(profiles, [1], async () => {
      const read = new Map([[1, { ...rows[1] }]]);
      hasRead.resolve();
      await slow.promise;
      return read;
    });
    await hasRead.promise;
    rows[1].name = "Anna";
    expect(await t.cache.delete(["profile::1"])).toBe(true);
    slow.resolve();
    // It answers what was true when it asked, and leaves nothing behind.
    expect((await reading).get(1)?.name).toBe("Ann");
    expect(await t.redis.exists("profile::1")).toBe(false);
    const after = await t.cache.values(profiles, [1], async () => new Map([[1, { ...rows[1] }]]));
    expect(after.get(1)?.name).toBe("Anna");
  });

  test("a slow reader cannot store over what another has read after the delete", async () => {
    const other = await t.newCache();
    const slow = Promise.withResolvers<void>();
    const reading = t.cache.values(profiles, [1], async () => {
      await slow.promise;
      return new Map([[1, ann]]);
    });
    await until(() => t.redis.exists("lease::profile::1"));
    await other.delete(["profile::1"]);
    await other.values(profiles, [1], async () => new Map([[1, bob]]));
    slow.resolve();
    await reading;
    expect(await t.redis.hget("profile::1", "name")).toBe(bob.name);
  });

  test("a thousand readers of one missing key cost one read of the database", async () => {
    let reads = 0;
    const load = async () => {
      reads++;
      await Bun.sleep(20);
      return new Map([[1, ann]]);
    };
    const answers = await Promise.all(Array.from({ length: 1000 }, () => t.cache.values(profiles, [1], load)));
    expect(reads).toBe(1);
    expect(answers.every((answer) => answer.get(1)?.name === "Ann")).toBe(true);
  });

  test("a reader does not wait for one that has died", async () => {
    await t.redis.send("SET", ["lease::profile::1", "somebody's", "PX", "3000"]);
    const { reads, load } = table({ 1: ann });
    const startedAt = performance.now();
    expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(ann);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(reads).toEqual([[1]]);
    expect(await t.redis.exists("profile::1")).toBe(false);
  });

  test("a reader whose load fails gives its lease back", async () => {
    const broken = t.cache.values(profiles, [1], () => Promise.reject(new Error("no database")));
    expect(broken).rejects.toThrow("no database");
    await broken.catch(() => {});
    expect(await t.redis.exists("lease::profile::1")).toBe(false);
  });
});

describe("lists", () => {
  const upTo = (most: number) => async () => Array.from({ length: Math.min(most, 6) }, (_, index) => most - index);
  const read = async (limit: number, below?: number, load = upTo(9)) =>
    (await t.cache.lists(numbers, ["list::1"], { limit, ...(below ? { below } : {}) }, load))[0];

  test("give pages as far as they reach, and then leave it to the database", async () => {
    for (let round = 0; round < 2; round++) {
      expect(await read(3)).toEqual([9, 8, 7]);
      expect(await read(2, 7)).toEqual([6, 5]);
      expect(await read(2, 6)).toBeNull();
      expect((await t.cache.lists(numbers, ["list::1"], { above: 6, limit: 9 }, upTo(9)))[0]).toEqual([9, 8, 7]);
      expect((await t.cache.lists(numbers, ["list::1"], { above: 3, limit: 9 }, upTo(9)))[0]).toBeNull();
    }
  });

  test("know where they end, also when they are empty", async () => {
    for (let round = 0; round < 2; round++) {
      expect(await read(9, undefined, upTo(4))).toEqual([4, 3, 2, 1]);
      expect((await t.cache.lists(numbers, ["list::2"], { limit: 9 }, async () => []))[0]).toEqual([]);
    }
    expect(t.cache.stats().hits).toBeGreaterThanOrEqual(2);
  });

  test("hold as many entries as fit into 64 KiB", async () => {
    const texts = listKind<string>({
      encode: (entry) => ({ score: entry.length, member: entry }),
      decode: (member) => member,
    });
    const newest = [40_000, 20_000, 10_000].map((length) => "x".repeat(length));
    for (let round = 0; round < 2; round++) {
      expect((await t.cache.lists(texts, ["list::3"], { limit: 2 }, async () => newest))[0]).toEqual(
        newest.slice(0, 2),
      );
      expect((await t.cache.lists(texts, ["list::3"], { limit: 3 }, async () => newest))[0]).toBeNull();
    }
  });

  test("that are cached take new entries, lose old ones, and stay within their size", async () => {
    await read(3, undefined, upTo(4));
    for (const entry of [5, 6]) await t.cache.add(numbers, "list::1", entry);
    expect(await read(9, undefined, upTo(0))).toBeNull();
    expect(await read(5)).toEqual([6, 5, 4, 3, 2]);
    await t.cache.add(numbers, "list::1", 1);
    expect(await t.redis.send("ZCARD", ["list::1"])).toBe(5);
    await t.cache.remove(numbers, "list::1", 5);
    expect(await read(4)).toEqual([6, 4, 3, 2]);
  });

  test("that are not cached are not begun by a new entry, and it voids the lease", async () => {
    const slow = Promise.withResolvers<void>();
    const reading = t.cache.lists(numbers, ["list::1"], { limit: 9 }, async () => {
      await slow.promise;
      return [1];
    });
    await until(() => t.redis.exists("lease::list::1"));
    await t.cache.add(numbers, "list::1", 2);
    slow.resolve();
    expect(await reading).toEqual([[1]]);
    expect(await t.redis.exists("list::1")).toBe(false);
  });

  test("that lack an entry which is expected are made anew", async () => {
    await read(3, undefined, upTo(4));
    await t.cache.expect(numbers, "list::1", 3);
    expect(await t.redis.exists("list::1")).toBe(true);
    await t.cache.expect(numbers, "list::1", 5);
    expect(await t.redis.exists("list::1")).toBe(false);
  });
});
