import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";

import { testServers } from "@flick/dev/testing.ts";
import { sql } from "drizzle-orm";

import type { Database } from "./client.ts";
import { addCounts, CountChanges } from "./counts.ts";
import { userFavoriteCounts } from "./schema/favorite.ts";
import { createTestDatabase } from "./testing.ts";
import { transact } from "./transaction.ts";

type Counter = "favoriteCount" | "totalFavorited";

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let db: Database;
beforeAll(async () => {
  database = await createTestDatabase((await testServers()).mysqlUrl);
  db = database.db;
});
beforeEach(async () => void (await db.delete(userFavoriteCounts)));
afterAll(() => database.drop());

function changesOf(...list: [id: number, counter: Counter, amount: number][]): CountChanges<Counter> {
  const changes = new CountChanges<Counter>();
  for (const [id, counter, amount] of list) changes.add(id, counter, amount);
  return changes;
}

const add = (changes: CountChanges<Counter>) =>
  transact(db, (tx) => addCounts(tx, userFavoriteCounts, "userId", ["favoriteCount", "totalFavorited"], changes));

const table = () => db.select().from(userFavoriteCounts).orderBy(userFavoriteCounts.userId);

test("changes of one counter add up, those that come to nothing are left out, and ids are in order", () => {
  const changes = changesOf(
    [30, "favoriteCount", 1],
    [2, "totalFavorited", 1],
    [2, "totalFavorited", 1],
    [5, "favoriteCount", 1],
    [5, "favoriteCount", -1],
  );
  expect(changes.entries().map(([id, amounts]) => [id, Object.fromEntries(amounts)])).toEqual([
    [2, { totalFavorited: 2 }],
    [30, { favoriteCount: 1 }],
  ]);
});

test("missing rows are made, present ones added to, counters that are not named stay", async () => {
  await add(changesOf([1, "favoriteCount", 3], [2, "totalFavorited", 5]));
  await add(
    changesOf([1, "favoriteCount", -1], [1, "totalFavorited", 4], [Number.MAX_SAFE_INTEGER, "favoriteCount", 1]),
  );
  expect(await table()).toEqual([
    { userId: 1, favoriteCount: 2, totalFavorited: 4 },
    { userId: 2, favoriteCount: 0, totalFavorited: 5 },
    { userId: Number.MAX_SAFE_INTEGER, favoriteCount: 1, totalFavorited: 0 },
  ]);
});

test("no changes are no statement", async () => {
  await add(changesOf([7, "favoriteCount", 1], [7, "favoriteCount", -1]));
  expect(await table()).toEqual([]);
});

test("a counter that the table has not is our mistake and says so", async () => {
  const changes = new CountChanges<string>();
  changes.add(1, "likes", 1);
  const call = transact(db, (tx) => addCounts(tx, userFavoriteCounts, "userId", ["likes"], changes));
  await expect(call).rejects.toThrow("there is no column likes");
});

test("a transaction that fails takes its changes with it", async () => {
  const failing = transact(db, async (tx) => {
    await addCounts(tx, userFavoriteCounts, "userId", ["favoriteCount"], changesOf([1, "favoriteCount", 1]));
    await tx.execute(sql`SELECT rubbish`);
  });
  await expect(failing).rejects.toThrow();
  expect(await table()).toEqual([]);
});

test("many transactions on the same rows at once lose nothing, in whatever order they name them", async () => {
  const orders: [number, number, number][] = [
    [1, 2, 3],
    [3, 2, 1],
    [2, 3, 1],
  ];
  await Promise.all(
    Array.from({ length: 60 }, (_, index) =>
      add(
        changesOf(
          ...(orders[index % 3] ?? [1, 2, 3]).map((id) => [id, "totalFavorited", id] as [number, Counter, number]),
        ),
      ),
    ),
  );
  expect((await table()).map((row) => row.totalFavorited)).toEqual([60, 120, 180]);
});
