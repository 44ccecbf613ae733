import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { comments, videoCommentCounts } from "@flick/db/schema/comment.ts";
import { favorites, userFavoriteCounts, videoFavoriteCounts } from "@flick/db/schema/favorite.ts";
import { conversations, messages } from "@flick/db/schema/message.ts";
import { followCounts, follows } from "@flick/db/schema/relation.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { createTestDatabase } from "@flick/db/testing.ts";
import { testServers } from "@flick/dev/testing.ts";
import { eq } from "drizzle-orm";

import { reconcile } from "./reconcile.ts";
import { insertVideo } from "./testing-data.ts";

const [author, fan, other] = [101, 102, 103];

let database: Awaited<ReturnType<typeof createTestDatabase>>;
beforeAll(async () => {
  database = await createTestDatabase((await testServers()).mysqlUrl);
});
afterAll(() => database.drop());

/** Rows and counters that agree. */
beforeEach(async () => {
  const { db } = database;
  const everything = [comments, videoCommentCounts, favorites, userFavoriteCounts, videoFavoriteCounts, conversations];
  for (const table of [...everything, messages, followCounts, follows, videos, workCounts]) await db.delete(table);
  await insertVideo(db, author, { id: 1 });
  await insertVideo(db, author, { id: 2, status: "uploaded" });
  await insertVideo(db, author, { id: 3, status: "failed" });
  await insertVideo(db, author, { id: 4, status: "deleted" });
  await db.insert(favorites).values([
    { userId: fan, videoId: 1, authorId: author, id: 1 },
    { userId: other, videoId: 1, authorId: author, id: 2 },
    { userId: fan, videoId: 4, authorId: author, id: 3 },
  ]);
  await db.insert(videoFavoriteCounts).values([
    { videoId: 1, count: 2 },
    { videoId: 4, count: 1 },
  ]);
  await db.insert(userFavoriteCounts).values([
    { userId: author, favoriteCount: 0, totalFavorited: 3 },
    { userId: fan, favoriteCount: 2, totalFavorited: 0 },
    { userId: other, favoriteCount: 1, totalFavorited: 0 },
  ]);
  await db.insert(comments).values({ id: 1, videoId: 1, userId: fan, content: "x", createdAt: 1 });
  await db.insert(videoCommentCounts).values([
    { videoId: 1, count: 1 },
    { videoId: 2, count: 0 },
  ]);
  await db.insert(follows).values({ followerId: fan, followeeId: author, id: 1 });
  await db.insert(followCounts).values([
    { userId: fan, followCount: 1, followerCount: 0 },
    { userId: author, followCount: 0, followerCount: 1 },
  ]);
  const between = { lowId: author, highId: fan };
  await db.insert(messages).values([
    { ...between, id: 1, fromId: fan, content: "first", createTime: 10 },
    { ...between, id: 2, fromId: author, content: "last", createTime: 11 },
  ]);
  const last = { lastId: 2, lastFromId: author, lastContent: "last", lastTime: 11 };
  await db.insert(conversations).values({ ...between, ...last });
});

/** Rows that differ, by table; only tables in which some do. */
async function drift(options?: Parameters<typeof reconcile>[1]): Promise<Record<string, number>> {
  const results = await reconcile(database.db, options);
  return Object.fromEntries(results.filter(({ drifted }) => drifted > 0).map(({ table, drifted }) => [table, drifted]));
}

/** Something wrong in every table. */
async function spoil(): Promise<void> {
  const { db } = database;
  await db.update(workCounts).set({ count: 4 });
  await db.update(videoFavoriteCounts).set({ count: 1 }).where(eq(videoFavoriteCounts.videoId, 1));
  await db.insert(videoFavoriteCounts).values({ videoId: 9, count: -1 });
  await db.delete(userFavoriteCounts).where(eq(userFavoriteCounts.userId, author));
  await db.update(userFavoriteCounts).set({ favoriteCount: 3 }).where(eq(userFavoriteCounts.userId, fan));
  await db.update(userFavoriteCounts).set({ totalFavorited: 1 }).where(eq(userFavoriteCounts.userId, other));
  await db.delete(comments);
  await db.update(followCounts).set({ followCount: 0, followerCount: 1 });
  await db.update(conversations).set({ lastContent: "first", lastTime: 10, lastId: 1, lastFromId: fan });
  await db
    .insert(conversations)
    .values({ lowId: 5, highId: 6, lastId: 7, lastFromId: 5, lastContent: "x", lastTime: 8 });
  await db.insert(messages).values({ id: 3, lowId: 7, highId: 8, fromId: 8, content: "alone", createTime: 12 });
}

const spoilt = {
  work_counts: 1,
  video_favorite_counts: 2,
  user_favorite_counts: 3,
  video_comment_counts: 1,
  follow_counts: 1,
  conversations: 3,
};

test("where counters and rows agree nothing differs, and everything was looked at", async () => {
  expect(await reconcile(database.db)).toEqual([
    { table: "work_counts", checked: 1, drifted: 0 },
    { table: "video_favorite_counts", checked: 2, drifted: 0 },
    { table: "user_favorite_counts", checked: 3, drifted: 0 },
    { table: "video_comment_counts", checked: 2, drifted: 0 },
    { table: "follow_counts", checked: 2, drifted: 0 },
    { table: "conversations", checked: 1, drifted: 0 },
  ]);
});

test.each([1, 2, 3, 500])("every difference is found, in chunks of %d rows", async (chunk) => {
  await spoil();
  expect(await drift({ chunk })).toEqual(spoilt);
});

test("looking changes nothing", async () => {
  await spoil();
  await drift();
  expect(await drift()).toEqual(spoilt);
});

test.each([1, 2, 500])("what differs is mended, and only that, in chunks of %d rows", async (chunk) => {
  const { db } = database;
  const state = async () => ({
    works: await db.select().from(workCounts),
    userFavorites: await db.select().from(userFavoriteCounts),
    follows: await db.select().from(followCounts),
    conversations: await db.select().from(conversations).where(eq(conversations.lowId, author)),
  });
  const before = await state();
  await spoil();
  expect(await drift({ repair: true, chunk })).toEqual(spoilt);
  expect(await drift()).toEqual({});
  expect(await state()).toEqual(before);
  expect(await db.$count(conversations, eq(conversations.lowId, 5))).toBe(0);
  expect(await db.$count(conversations, eq(conversations.lastContent, "alone"))).toBe(1);
});

describe("the command", () => {
  async function command(args: string[], env: Record<string, string>) {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "reconcile.ts"), ...args], {
      env: { PATH: process.env.PATH ?? "", ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: 20_000,
    });
    const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code: child.exitCode, output, errors };
  }

  test("says what differs, without anybody's id, and exits 1; with --repair it mends and exits 0", async () => {
    const env = { MYSQL_URL: database.url };
    expect(await command([], env)).toMatchObject({ code: 0, errors: "" });
    await spoil();
    const { code, output } = await command([], env);
    expect(code).toBe(1);
    expect(output).toContain("user_favorite_counts: 3 rows, 3 differ\n");
    for (const id of [author, fan, other]) expect(output).not.toContain(String(id));
    const repaired = await command(["--repair"], env);
    expect(repaired.code).toBe(0);
    expect(repaired.output).toContain("conversations: 3 rows, 3 mended\n");
    expect((await command([], env)).code).toBe(0);
  });

  test("names a setting that is missing, and takes no other argument", async () => {
    expect(await command([], {})).toMatchObject({ code: 2, errors: expect.stringContaining("MYSQL_URL: is missing") });
    expect((await command(["--fix"], { MYSQL_URL: database.url })).code).toBe(2);
  });
});
