import { expect, test } from "bun:test";

import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { createBatcher } from "./batch.ts";

/** Commits that take a moment, as those of a database do, and what they were given. */
function slowCommits(refuse: (item: number) => boolean = () => false) {
  const batches: number[][] = [];
  return {
    batches,
    async commit(items: readonly number[]) {
      batches.push([...items]);
      await Bun.sleep(5);
      if (items.some(refuse)) throw new Error("poisoned");
      return items.map((item) => item * 10);
    },
  };
}

test("an item that comes alone is written at once and alone", async () => {
  const { commit, batches } = slowCommits();
  const write = createBatcher({ commit });
  expect(await write(1)).toBe(10);
  expect(await write(2)).toBe(20);
  expect(batches).toEqual([[1], [2]]);
});

test("items that come at once share a commit, in their order", async () => {
  const { commit, batches } = slowCommits();
  const write = createBatcher({ commit });
  const results = await Promise.all([1, 2, 3, 4, 5].map(write));
  expect(results).toEqual([10, 20, 30, 40, 50]);
  expect(batches).toEqual([[1, 2, 3, 4, 5]]);
});

test("items that come while a commit is in flight share the next one, in their order", async () => {
  const { commit, batches } = slowCommits();
  const write = createBatcher({ commit });
  const first = write(1);
  await Bun.sleep(1);
  const results = await Promise.all([2, 3, 4, 5].map(write));
  expect([await first, ...results]).toEqual([10, 20, 30, 40, 50]);
  expect(batches).toEqual([[1], [2, 3, 4, 5]]);
});

test("those who go on as soon as they are answered stay together", async () => {
  const { commit, batches } = slowCommits();
  const write = createBatcher({ commit });
  await Promise.all(
    [1, 2, 3].map(async (item) => {
      for (let round = 0; round < 4; round++) await write(item);
    }),
  );
  expect(batches).toEqual(Array.from({ length: 4 }, () => [1, 2, 3]));
});

test("a result that is a promise keeps its caller waiting, and not the next batch", async () => {
  const slow = Promise.withResolvers<number>();
  const write = createBatcher<number, number>({
    commit: (items) => Promise.resolve(items.map((item) => (item === 1 ? slow.promise : item * 10))),
  });
  const first = write(1);
  expect(await write(2)).toBe(20);
  expect(await write(3)).toBe(30);
  slow.resolve(10);
  expect(await first).toBe(10);
});

test("a batch has no more items than it may", async () => {
  const { commit, batches } = slowCommits();
  const write = createBatcher({ commit, maxBatch: 2 });
  await Promise.all([1, 2, 3, 4, 5, 6].map(write));
  expect(batches).toEqual([
    [1, 2],
    [3, 4],
    [5, 6],
  ]);
});

test("a poisoned item fails alone", async () => {
  const { commit, batches } = slowCommits((item) => item === 4);
  const write = createBatcher({ commit });
  const outcomes = await Promise.allSettled([1, 2, 3, 4, 5, 6, 7].map(write));
  expect(outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : "failed"))).toEqual([
    10,
    20,
    30,
    "failed",
    50,
    60,
    70,
  ]);
  expect(batches.filter((batch) => batch.length === 1 && batch[0] === 4)).toHaveLength(1);
});

test.each([
  ["a database", Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })],
  ["another service", flickError(Reason.UNAVAILABLE, "the database cannot be reached at the moment: try again")],
  ["a slow service", flickError(Reason.TIMEOUT, "the call took too long")],
])("%s that is away fails the whole batch once", async (_name, error) => {
  let commits = 0;
  const write = createBatcher<number, number>({
    async commit() {
      commits++;
      await Bun.sleep(1);
      throw error;
    },
  });
  const outcomes = await Promise.allSettled([1, 2, 3, 4].map(write));
  expect(outcomes.every((outcome) => outcome.status === "rejected")).toBe(true);
  expect(commits).toBe(1);
});

test("beyond its bound the queue refuses at once, names the bound, and goes on working", async () => {
  const { commit } = slowCommits();
  const write = createBatcher({ commit, maxQueue: 3 });
  const outcomes = await Promise.allSettled([1, 2, 3, 4, 5, 6].map(write));
  const refused = outcomes.filter((outcome) => outcome.status === "rejected");
  expect(refused.map(({ reason }) => reasonOf(reason))).toEqual([Reason.BUSY, Reason.BUSY, Reason.BUSY]);
  expect(String(refused[0]?.reason)).toContain("3");
  expect(await write(9)).toBe(90);
});
