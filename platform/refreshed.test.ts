import { beforeEach, describe, expect, test } from "bun:test";

import { createRefreshed, type Refreshed } from "./refreshed.ts";

let now = 0;
/** The attempts that were begun, for the test to end. */
let attempts: PromiseWithResolvers<{ version: number }>[] = [];
let failures: unknown[] = [];
let refreshed: Refreshed<{ version: number }>;
beforeEach(() => {
  now = 1_000_000;
  attempts = [];
  failures = [];
  refreshed = createRefreshed({
    load() {
      attempts.push(Promise.withResolvers());
      return attempts.at(-1)?.promise ?? Promise.reject(new Error("none"));
    },
    freshMs: 10_000,
    staleMs: 30_000,
    retryMs: 2_000,
    timeoutMs: 1_000,
    onFailure: (error) => failures.push(error),
    now: () => now,
  });
});

/** Ends the newest attempt. */
const succeed = (version: number) => attempts.at(-1)?.resolve({ version });
const fail = () => attempts.at(-1)?.reject(new Error("away"));

async function loaded(version: number): Promise<void> {
  const value = refreshed.get();
  succeed(version);
  expect(await value).toEqual({ version });
}

test("a fresh value is used as it is", async () => {
  await loaded(1);
  now += 9_999;
  expect(await refreshed.get()).toEqual({ version: 1 });
  expect(attempts).toHaveLength(1);
});

test("an older one is used too, and renewed behind the back of who uses it", async () => {
  await loaded(1);
  now += 10_000;
  const kept: Promise<unknown>[] = [];
  expect(await refreshed.get((work) => kept.push(work))).toEqual({ version: 1 });
  expect(await refreshed.get((work) => kept.push(work))).toEqual({ version: 1 });
  expect(attempts).toHaveLength(2);
  succeed(2);
  await Promise.all(kept);
  expect(await refreshed.get()).toEqual({ version: 2 });
});

test("a stale one is waited for", async () => {
  await loaded(1);
  now += 30_000;
  const value = refreshed.get();
  succeed(2);
  expect(await value).toEqual({ version: 2 });
});

test("of many who wait only one asks, and all get what it brought", async () => {
  const values = Array.from({ length: 100 }, () => refreshed.get());
  expect(attempts).toHaveLength(1);
  succeed(1);
  expect(await Promise.all(values)).toEqual(Array.from({ length: 100 }, () => ({ version: 1 })));
  expect(attempts).toHaveLength(1);
});

test("when who asks is gone for good, the others wait for its time and no longer", async () => {
  void refreshed.get();
  const other = refreshed.get();
  now += 1_000;
  expect(await other).toBeNull();
  now += 1_000;
  const next = refreshed.get();
  succeed(2);
  expect(await next).toEqual({ version: 2 });
});

test("what a lost attempt brings after the next one is not taken", async () => {
  void refreshed.get();
  now += 2_000;
  const next = refreshed.get();
  succeed(2);
  expect(await next).toEqual({ version: 2 });
  attempts[0]?.resolve({ version: 1 });
  await Promise.resolve();
  expect(await refreshed.get()).toEqual({ version: 2 });
});

test("the last value goes on while no other can be had, which is asked for every two seconds at most", async () => {
  await loaded(1);
  now += 60_000;
  const value = refreshed.get();
  fail();
  expect(await value).toEqual({ version: 1 });
  expect(failures).toEqual([new Error("away")]);
  now += 1_999;
  expect(await refreshed.get()).toEqual({ version: 1 });
  expect(attempts).toHaveLength(2);
  now += 1;
  // Nobody waits any more for what fails.
  expect(await refreshed.get()).toEqual({ version: 1 });
  expect(attempts).toHaveLength(3);
  succeed(3);
  await attempts.at(-1)?.promise;
  expect(await refreshed.get()).toEqual({ version: 3 });
});

describe("who wants a new value", () => {
  test("gets one, but not every time", async () => {
    await loaded(1);
    now += 1_999;
    expect(await refreshed.renew()).toEqual({ version: 1 });
    now += 1;
    const value = refreshed.renew();
    succeed(2);
    expect(await value).toEqual({ version: 2 });
    for (let turn = 0; turn < 100; turn++) expect(await refreshed.renew()).toEqual({ version: 2 });
    expect(attempts).toHaveLength(2);
  });

  test("is told when it cannot be had, also by those who did not ask themselves", async () => {
    await loaded(1);
    now += 2_000;
    const value = refreshed.renew();
    fail();
    expect(await value).toBeNull();
    expect(await refreshed.renew()).toBeNull();
    expect(await refreshed.get()).toEqual({ version: 1 });
  });
});
