import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { comments } from "@flick/db/schema/comment.ts";
import { favorites } from "@flick/db/schema/favorite.ts";
import { follows } from "@flick/db/schema/relation.ts";
import { users } from "@flick/db/schema/user.ts";
import { videos } from "@flick/db/schema/video.ts";
import { startMariadb, type TestServer } from "@flick/dev/testing.ts";
import { RedisClient } from "bun";
import { sql } from "drizzle-orm";

import { startTestOrigin, type TestOrigin } from "./testing.ts";

const many = 40;

let dir: string;
/** Its own, because the server counts the statements of everybody. */
let mariadb: TestServer;
let origin: TestOrigin;
let redis: RedisClient;
let viewer: { userId: number; token: string };
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-round-trips-"));
  mariadb = await startMariadb({ dir });
  origin = await startTestOrigin({}, { mysqlUrl: mariadb.url });
  redis = new RedisClient(origin.redisUrl);
  viewer = await origin.signUp();
  const { db } = origin;
  const now = Date.now();
  const ids = Array.from({ length: many }, (_, index) => 1000 + index);
  const name = (id: number) => ({ name: `name ${id}`, nameKey: `name ${id}`, passwordHash: "-" });
  await db.insert(users).values(ids.map((id) => ({ id, ...name(id), createdAt: now })));
  // Every video is of another author, and one of each is the viewer's.
  const keys = { title: "t", status: "ready" as const, rawKey: "r", playKey: "p", createdAt: now, jobDueAt: 0 };
  await db.insert(videos).values(ids.map((id) => ({ id, authorId: id, feedTime: now - id, ...keys })));
  await db
    .insert(videos)
    .values(ids.map((id) => ({ id: id + 5000, authorId: viewer.userId, feedTime: now - 5000 - id, ...keys })));
  await db.insert(favorites).values(ids.map((id) => ({ userId: viewer.userId, videoId: id, authorId: id, id })));
  await db.insert(comments).values(ids.map((id) => ({ id, videoId: 1000, userId: id, content: "c", createdAt: now })));
  await db.insert(follows).values(ids.map((id) => ({ followerId: id, followeeId: viewer.userId, id })));
  await db.insert(follows).values(ids.map((id) => ({ followerId: viewer.userId, followeeId: id, id: id + 5000 })));
});
afterAll(async () => {
  redis.close();
  await origin.stop();
  await mariadb.stop();
  await rm(dir, { recursive: true });
});

const pages: [name: string, read: (count: number) => Promise<unknown[]>][] = [
  ["the feed", async (count) => (await origin.as(viewer.token).video.getFeed({ count })).videos],
  ["the feed of nobody", async (count) => (await origin.as().video.getFeed({ count })).videos],
  [
    "what a viewer has of their own in the feed",
    async (count) => {
      const ids = Array.from({ length: count }, (_, index) => BigInt(1000 + index));
      const asked = { videoIds: ids, authorIds: ids, tokens: [viewer.token] };
      return (await origin.as().video.getFeedViews(asked)).views[0]?.isFavorite ?? [];
    },
  ],
  ["the list of works", async (count) => (await origin.as(viewer.token).video.listPublished({ count })).videos],
  ["the list of likes", async (count) => (await origin.as(viewer.token).favorite.listFavorites({ count })).videos],
  [
    "the comments of a video",
    async (count) => (await origin.as(viewer.token).comment.listComments({ videoId: 1000n, count })).comments,
  ],
  ["the followers", async (count) => (await origin.as(viewer.token).relation.listFollowers({ count })).users],
  ["the followees", async (count) => (await origin.as(viewer.token).relation.listFollowing({ count })).users],
];

test.each(pages)("a page of 30 of %s costs as many round trips as a page of 1", async (name, read) => {
  const cold = [await cost(read, 1, forget), await cost(read, 30, forget)];
  expect(cold[1]).toEqual(cold[0] as Cost);
  expect(cold[0]?.selects).toBeGreaterThan(0);
  const warm = [await cost(read, 1, () => read(30)), await cost(read, 30, () => read(30))];
  expect(warm[1]).toEqual(warm[0] as Cost);
  // All that is in such a page is cached.
  expect(warm[0]?.selects).toBe(0);
  const say = (costs: Cost[]) => `${costs[1]?.cache} to the cache and ${costs[1]?.selects} queries`;
  process.stdout.write(`round trips of ${name}: cold ${say(cold)}, warm ${say(warm)}\n`);
});

interface Cost {
  cache: number;
  selects: number;
}

/** The least of a few times: something else may have been going on. */
async function cost(
  read: (count: number) => Promise<unknown[]>,
  count: number,
  prepare: () => Promise<unknown>,
): Promise<Cost> {
  const least = { cache: Infinity, selects: Infinity };
  for (let round = 0; round < 3; round++) {
    await prepare();
    const before = { cache: origin.cacheStats().roundTrips, selects: await selects() };
    expect(await read(count)).toHaveLength(count);
    least.cache = Math.min(least.cache, origin.cacheStats().roundTrips - before.cache);
    least.selects = Math.min(least.selects, (await selects()) - before.selects);
  }
  return least;
}

async function selects(): Promise<number> {
  const [rows] = await origin.db.execute(sql`SHOW GLOBAL STATUS LIKE 'Com_select'`);
  return Number((rows as unknown as { Value: string }[])[0]?.Value);
}

/** Empties the cache; the event log is in the same Redis. */
async function forget(): Promise<void> {
  const keys = ((await redis.send("KEYS", ["*"])) as string[]).filter((key) => !key.startsWith("log::"));
  if (keys.length > 0) await redis.send("DEL", keys);
}
