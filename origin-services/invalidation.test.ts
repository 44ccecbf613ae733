import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { comments, videoCommentCounts } from "@flick/db/schema/comment.ts";
import { favorites, userFavoriteCounts, videoFavoriteCounts } from "@flick/db/schema/favorite.ts";
import { messages } from "@flick/db/schema/message.ts";
import { followCounts, follows } from "@flick/db/schema/relation.ts";
import { users } from "@flick/db/schema/user.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import type { Change, Row } from "@flick/platform/cdc/change-event.ts";
import { databaseOf } from "@flick/platform/cdc/env.ts";
import { createBinlogTailer, type BinlogTailer } from "@flick/platform/cdc/tailer.ts";
import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { createRedisStreamsEventLog } from "@flick/platform/event-log/redis-streams.ts";
import { createLog } from "@flick/platform/log.ts";
import { feedGenerations } from "@flick/proto/feed-cache.ts";
import { RedisClient } from "bun";
import { eq } from "drizzle-orm";

import { cacheKeys } from "./cache-keys.ts";
import { stalePages } from "./feed-purge.ts";
import { keysOf } from "./invalidation.ts";
import { startTestOrigin, type TestOrigin } from "./testing.ts";

setDefaultTimeout(30_000);

describe("a change makes stale", () => {
  const tables: [table: string, row: Row, keys: string[]][] = [
    ["users", { id: 1 }, ["user::1"]],
    ["videos", { id: 1, author_id: 2 }, ["videoInfo::1", "publishVids::2"]],
    ["work_counts", { user_id: 1 }, ["count::1"]],
    ["favorites", { user_id: 1, video_id: 2, author_id: 3 }, ["fav::2::1", "userFavList::1"]],
    ["video_favorite_counts", { video_id: 1 }, ["videoCount::1"]],
    ["user_favorite_counts", { user_id: 1 }, ["count::1"]],
    ["comments", { id: 1, video_id: 2, user_id: 3 }, ["comment::2"]],
    ["video_comment_counts", { video_id: 1 }, ["videoCount::1"]],
    ["follows", { follower_id: 1, followee_id: 2 }, ["isFollow::1::2", "follow::1", "follower::2"]],
    ["follow_counts", { user_id: 1 }, ["count::1"]],
    ["messages", { low_id: 1, high_id: 2, from_id: 2 }, ["message::history::1:2"]],
    ["conversations", { low_id: 1, high_id: 2 }, ["message::history::1:2"]],
    ["somebody_elses", { id: 1 }, []],
  ];
  const change = (table: string, part: Pick<Change, "op" | "before" | "after">) =>
    ({ table, tsMs: null, position: null, ...part }) as Change;

  test.each(tables)("%s", (table, row, keys) => {
    expect(keysOf(change(table, { op: "c", before: null, after: row }))).toEqual(keys);
    expect(keysOf(change(table, { op: "d", before: row, after: null }))).toEqual(keys);
    expect(keysOf(change(table, { op: "u", before: row, after: row }))).toEqual(keys);
  });

  test("what was there before and what is there after", () => {
    const moved = change("videos", { op: "u", before: { id: 1, author_id: 2 }, after: { id: 1, author_id: 3 } });
    expect(keysOf(moved)).toEqual(["videoInfo::1", "publishVids::2", "publishVids::3"]);
  });

  test.each<[what: string, Row | null, Row | null, "head" | "all" | null]>([
    ["the head of the feed when a video becomes ready", { feed_time: null }, { feed_time: 5 }, "head"],
    ["the head of the feed when a ready video is inserted", null, { feed_time: 5 }, "head"],
    ["every page of the feed when a video is deleted", { feed_time: 5 }, { feed_time: null }, "all"],
    ["every page of the feed when a ready video's row goes", { feed_time: 5 }, null, "all"],
    ["no page of the feed when a video is uploaded", null, { feed_time: null }, null],
    ["no page of the feed when a ready video gets another title", { feed_time: 5 }, { feed_time: 5 }, null],
  ])("%s", (_what, before, after, pages) => {
    expect(stalePages(change("videos", { op: "u", before, after }))).toBe(pages);
    expect(stalePages(change("users", { op: "u", before, after }))).toBeNull();
  });

  test("nothing when its ids cannot be read, which is an error", () => {
    expect(() => keysOf(change("users", { op: "c", before: null, after: { id: "x" } }))).toThrow("no number in id");
  });
});

describe("what was committed and never deleted from the cache", () => {
  let origin: TestOrigin;
  let events: EventLog;
  let tailer: BinlogTailer;
  let redis: RedisClient;
  let ann: { userId: number; token: string };
  let ben: { userId: number; token: string };
  const now = Date.now();
  const video = 700;
  const day = cacheKeys.feedDay(now);
  beforeAll(async () => {
    origin = await startTestOrigin();
    const log = createLog({ program: "cdc", write: () => {} });
    events = createRedisStreamsEventLog({ url: origin.redisUrl, log });
    redis = new RedisClient(origin.redisUrl);
    [ann, ben] = [await origin.signUp(), await origin.signUp()];
    await origin.db.insert(videos).values(readyVideo(video, now - 1));
    const { mysqlUrl } = origin;
    tailer = createBinlogTailer({
      mysqlUrl,
      database: databaseOf(mysqlUrl),
      eventLog: events,
      log,
      serverId: 30_095,
    });
    while (!tailer.status().reading) await Bun.sleep(20);
  });
  afterAll(async () => {
    redis.close();
    await tailer.stop();
    await events.close();
    await origin.stop();
  });

  const readyVideo = (id: number, feedTime: number) => ({
    id,
    authorId: ann.userId,
    title: `video ${id}`,
    status: "ready" as const,
    rawKey: "r",
    playKey: "p",
    createdAt: now,
    feedTime,
    jobDueAt: 0,
  });

  /** Reads until the cache answers, then writes behind its back, then waits until what is read is as it should be. */
  async function comesRight(
    read: () => Promise<unknown>,
    write: () => Promise<unknown>,
    right: unknown,
  ): Promise<void> {
    for (let misses = -1; misses < origin.cacheStats().misses;) {
      misses = origin.cacheStats().misses;
      await read();
    }
    expect(await read()).not.toEqual(right);
    await write();
    const deadline = Date.now() + 10_000;
    while (!Bun.deepEquals(await read(), right)) {
      if (Date.now() > deadline) expect(await read()).toEqual(right);
      await Bun.sleep(20);
    }
  }

  test("a profile comes right", () =>
    comesRight(
      async () => (await origin.as(ben.token).user.getUser({ userId: BigInt(ann.userId) })).user?.signature,
      () => origin.db.update(users).set({ signature: "new" }).where(eq(users.id, ann.userId)),
      "new",
    ));

  test("a user's counts come right", () =>
    comesRight(
      async () => {
        const { user } = await origin.as(ben.token).user.getUser({ userId: BigInt(ann.userId) });
        return [user?.workCount, user?.followerCount, user?.totalFavorited];
      },
      async () => {
        await origin.db.insert(workCounts).values({ userId: ann.userId, count: 3 });
        await origin.db.insert(followCounts).values({ userId: ann.userId, followCount: 0, followerCount: 4 });
        await origin.db.insert(userFavoriteCounts).values({ userId: ann.userId, favoriteCount: 0, totalFavorited: 5 });
      },
      [3n, 4n, 5n],
    ));

  test("a video, its counts and whether it is liked come right", () =>
    comesRight(
      async () => {
        const [shown] = (await origin.as(ben.token).video.listPublished({ userId: BigInt(ann.userId) })).videos;
        return [shown?.title, shown?.favoriteCount, shown?.commentCount, shown?.isFavorite];
      },
      async () => {
        await origin.db.update(videos).set({ title: "better" }).where(eq(videos.id, video));
        await origin.db.insert(videoFavoriteCounts).values({ videoId: video, count: 6 });
        await origin.db.insert(videoCommentCounts).values({ videoId: video, count: 7 });
        await origin.db.insert(favorites).values({ userId: ben.userId, videoId: video, authorId: ann.userId, id: 1 });
      },
      ["better", 6n, 7n, true],
    ));

  test("lists come right", () => {
    const { favorite, comment, relation, message } = origin.as(ben.token);
    return comesRight(
      async () => [
        (await favorite.listFavorites({ userId: BigInt(ann.userId) })).videos.length,
        (await comment.listComments({ videoId: BigInt(video) })).comments.length,
        (await relation.listFollowing({})).users.length,
        (await relation.listFollowers({ userId: BigInt(ann.userId) })).users.map((user) => user.isFollow).length,
        (await message.listMessages({ peerId: BigInt(ann.userId) })).messages.map(({ content }) => content).join(),
        (await message.listMessages({ peerId: BigInt(ann.userId), afterMs: 1n })).messages.length,
      ],
      async () => {
        const [lowId, highId] = [ann.userId, ben.userId].toSorted((one, other) => one - other) as [number, number];
        const common = { id: 1, videoId: video };
        await origin.db.insert(favorites).values({ ...common, userId: ann.userId, authorId: ann.userId });
        await origin.db.insert(comments).values({ ...common, userId: ann.userId, content: "x", createdAt: 1 });
        await origin.db.insert(follows).values({ followerId: ben.userId, followeeId: ann.userId, id: 1 });
        const sent = { lowId, highId, fromId: ann.userId };
        await origin.db.insert(messages).values({ id: 1, ...sent, content: "hello", createTime: now });
      },
      [1, 1, 1, 1, "hello", 1],
    );
  });

  test("a video that became ready is in its day of the feed, and one that was deleted is not", async () => {
    // A day that fills a page, so that the feed is read from the cache.
    const more = Array.from({ length: 40 }, (_, index) => readyVideo(800 + index, now - 100 - index));
    await origin.db.insert(videos).values(more);
    const feed = async () => (await origin.as().video.getFeed({ count: 3 })).videos.map(({ id }) => Number(id));
    await comesRight(feed, () => origin.db.insert(videos).values(readyVideo(900, now)), [900, video, 800]);
    expect(await redis.exists(day)).toBe(true);
    const gone = { status: "deleted" as const, feedTime: null };
    await comesRight(feed, () => origin.db.update(videos).set(gone).where(eq(videos.id, video)), [900, 800, 801]);
    const deadline = Date.now() + 5_000;
    while ((await redis.send("ZSCORE", [day, String(video)])) !== null && Date.now() < deadline) await Bun.sleep(20);
    expect(await redis.send("ZSCORE", [day, String(video)])).toBeNull();
  });

  test("a video that became ready makes the edge's head of the feed worthless, and one that is deleted every page", async () => {
    const generations = () => redis.send("MGET", [feedGenerations.head, feedGenerations.all]) as Promise<string[]>;
    const changesTo = async (which: number, write: () => Promise<unknown>) => {
      while ((await events.lag("cdc.videos", "cache")) > 0) await Bun.sleep(20);
      const before = await generations();
      await write();
      const deadline = Date.now() + 10_000;
      while ((await generations())[which] === before[which] && Date.now() < deadline) await Bun.sleep(20);
      const after = await generations();
      expect(after[which]).not.toBe(before[which] ?? "");
      expect(after[1 - which]).toBe(before[1 - which] as string);
    };
    await changesTo(0, () => origin.db.insert(videos).values(readyVideo(950, now + 50)));
    const gone = { status: "deleted" as const, feedTime: null };
    await changesTo(1, () => origin.db.update(videos).set(gone).where(eq(videos.id, 950)));
  });

  test("a change is told again without harm", async () => {
    const read = async () => (await origin.as(ben.token).user.getUser({ userId: BigInt(ann.userId) })).user?.name;
    const name = await read();
    const value = JSON.stringify({ op: "u", before: null, after: { id: ann.userId }, source: { table: "users" } });
    await events.publish([
      { topic: "cdc.users", key: String(ann.userId), value },
      { topic: "cdc.users", key: String(ann.userId), value },
    ]);
    while ((await events.lag("cdc.users", "cache")) > 0) await Bun.sleep(20);
    expect(await read()).toBe(name);
  });
});
