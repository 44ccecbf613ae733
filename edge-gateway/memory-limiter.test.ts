import { expect, test } from "bun:test";

import { createMemoryLimiter } from "./memory-limiter.ts";

test("lets so many calls of a key through in each window", async () => {
  let now = 5_000;
  const limiter = createMemoryLimiter({ limit: 2, periodMs: 10_000, now: () => now });
  const call = async (key: string) => (await limiter.limit({ key })).success;
  expect([await call("a"), await call("a"), await call("a"), await call("b")]).toEqual([true, true, false, true]);
  now = 9_999;
  expect(await call("a")).toBe(false);
  now = 10_000;
  expect(await call("a")).toBe(true);
});

test("never holds more keys than it may, and forgets the oldest first", async () => {
  const limiter = createMemoryLimiter({ limit: 1, periodMs: 10_000, mostKeys: 100, now: () => 0 });
  for (let i = 0; i < 10_000; i++) await limiter.limit({ key: `key ${i}` });
  expect(limiter.size()).toBe(100);
  expect(await limiter.limit({ key: "key 9999" })).toEqual({ success: false });
  expect(await limiter.limit({ key: "key 0" })).toEqual({ success: true });
});
