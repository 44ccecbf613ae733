import { describe, expect, test } from "bun:test";

import { ann, bob, profiles, setUpCacheTests, table, until } from "./testing-cache.ts";

const t = setUpCacheTests();

describe("without Redis", () => {
  test("reads go to the database at once, and what was to be deleted is deleted when it is back", async () => {
    const { reads, rows, load } = table({ 1: { ...ann } });
    await t.cache.values(profiles, [1], load);
    await t.server.stop();
    rows[1] = bob;
    expect(await t.cache.delete(["profile::1"])).toBe(false);
    const startedAt = performance.now();
    for (let round = 0; round < 20; round++) expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(bob);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(reads).toHaveLength(21);
    await t.server.start();
    await until(async () => {
      expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(bob);
      return t.cache.stats().hits > 0;
    });
    expect(await t.redis.hget("profile::1", "name").catch(() => bob.name)).toBe(bob.name);
  });

  test("a Redis that refuses deletions is not read from until it has taken them", async () => {
    const { rows, load } = table({ 1: { ...ann } });
    await t.cache.values(profiles, [1], load);
    await t.redis.send("ACL", ["SETUSER", "default", "-del"]);
    rows[1] = bob;
    expect(await t.cache.delete(["profile::1"])).toBe(false);
    expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(bob);
    await t.redis.send("ACL", ["SETUSER", "default", "+del"]);
    await until(async () => {
      expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(bob);
      return t.cache.stats().hits > 0;
    });
  });

  test("a Redis that answers with errors is left alone for a while", async () => {
    const { reads, load } = table({ 1: ann });
    await t.redis.send("ACL", ["SETUSER", "default", "-evalsha"]);
    const { roundTrips } = t.cache.stats();
    for (let round = 0; round < 20; round++) expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(ann);
    expect(reads).toHaveLength(20);
    expect(t.cache.stats().roundTrips - roundTrips).toBeLessThan(6);
    await t.redis.send("ACL", ["SETUSER", "default", "+evalsha"]);
    await until(async () => (await t.cache.values(profiles, [1], load)).has(1) && t.cache.stats().hits > 0);
  });

  test("a Redis that hangs slows one read, not all of them", async () => {
    t.cache = await t.newCache(100);
    const { load } = table({ 1: ann });
    process.kill(t.server.pid(), "SIGSTOP");
    try {
      const startedAt = performance.now();
      for (let round = 0; round < 50; round++) expect((await t.cache.values(profiles, [1], load)).get(1)).toEqual(ann);
      expect(performance.now() - startedAt).toBeLessThan(3_000);
      expect(await t.cache.delete(["profile::1"])).toBe(false);
    } finally {
      process.kill(t.server.pid(), "SIGCONT");
    }
    await until(async () => {
      const { hits } = t.cache.stats();
      await t.cache.values(profiles, [1], load);
      return t.cache.stats().hits > hits;
    });
  });
});
