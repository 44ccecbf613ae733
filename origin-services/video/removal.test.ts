import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { Readable } from "node:stream";

import { comments, videoCommentCounts } from "@flick/db/schema/comment.ts";
import { favorites, videoFavoriteCounts } from "@flick/db/schema/favorite.ts";
import { uploads, videos } from "@flick/db/schema/video.ts";
import { createLog } from "@flick/platform/log.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { eq } from "drizzle-orm";

import { createCache, type Cache } from "../cache.ts";
import { createClients, serviceNames } from "../clients.ts";
import type { Context } from "../context.ts";
import { reconcile } from "../reconcile.ts";
import { publishVideo } from "../testing-data.ts";
import { startTestOrigin, testServiceSecret, type TestOrigin } from "../testing.ts";
import { createVideoRemoval } from "./removal.ts";

setDefaultTimeout(60_000);

let origin: TestOrigin;
let cache: Cache;
let context: Context;
beforeAll(async () => {
  origin = await startTestOrigin();
  const log = createLog({ program: "test", level: "error" });
  cache = createCache({ url: origin.redisUrl, log });
  const clients = createClients({
    local: [],
    routes: () => {},
    interceptors: [],
    urls: Object.fromEntries(serviceNames.map((name) => [name, origin.url])) as Record<
      (typeof serviceNames)[number],
      string
    >,
    serviceToken: createServiceTokenSigner("tests", testServiceSecret),
    timeoutMs: 5_000,
  });
  context = { db: origin.db, cache, objects: origin.objects, clients, log, now: Date.now, newId: () => 0 };
}, 60_000);
afterAll(async () => {
  cache.close();
  await origin.stop();
});

const store = (key: string) =>
  origin.objects.put(key, Readable.from([Buffer.from(key)]), { contentType: "text/plain" });
const drifted = async () => (await reconcile(origin.db)).filter((table) => table.drifted > 0);
const rowsOf = async (videoId: number) => ({
  videos: await origin.db.$count(videos, eq(videos.id, videoId)),
  uploads: await origin.db.$count(uploads, eq(uploads.videoId, videoId)),
  favorites: await origin.db.$count(favorites, eq(favorites.videoId, videoId)),
  favoriteCounts: await origin.db.$count(videoFavoriteCounts, eq(videoFavoriteCounts.videoId, videoId)),
  comments: await origin.db.$count(comments, eq(comments.videoId, videoId)),
  commentCounts: await origin.db.$count(videoCommentCounts, eq(videoCommentCounts.videoId, videoId)),
});
const nothing = { videos: 0, uploads: 0, favorites: 0, favoriteCounts: 0, comments: 0, commentCounts: 0 };

const later = 3_600_000;

/** As its author does, but an hour from now, so that the origin's own removal leaves it to the tests. */
async function deleteLater(author: { token: string }, id: number): Promise<number> {
  await origin.as(author.token).video.deleteVideo({ videoId: BigInt(id) });
  const deletedAt = Date.now() + later;
  await origin.db.update(videos).set({ deletedAt, jobDueAt: deletedAt }).where(eq(videos.id, id));
  return deletedAt;
}

/** A ready video with likes, comments, objects and the row of its upload. */
async function makePopular(author: { userId: number }, fans: { token: string }[]): Promise<number> {
  const videoId = await publishVideo(origin, author.userId);
  const id = Number(videoId);
  for (const fan of fans) {
    await origin.as(fan.token).favorite.setFavorite({ videoId, favorite: true });
    await origin.as(fan.token).comment.createComment({ videoId, content: "nice" });
  }
  for (const key of [`raw/${id}`, `videos/${id}/1/play.mp4`, `videos/${id}/1/hls/540/1.m4s`]) await store(key);
  const file = { title: "t", size: 1, contentType: "video/mp4", sha256: "", partBytes: 1, rawKey: `raw/${id}` };
  const upload = { id, authorId: author.userId, ...file, storeUploadId: "x", videoId: id, createdAt: 1 };
  await origin.db.insert(uploads).values({ ...upload, expiresAt: Date.now() + 3_600_000 });
  return id;
}

test("of a deleted video no object, row or count stays, and the counts of others are right", async () => {
  const author = await origin.signUp();
  const fans = await Promise.all([origin.signUp(), origin.signUp(), origin.signUp()]);
  const [gone, kept] = [await makePopular(author, fans), await makePopular(author, fans.slice(0, 1))];
  const profile = async ({ token }: { token: string }) => (await origin.as(token).user.getUser({})).user;
  expect(await profile(author)).toMatchObject({ totalFavorited: 4n, workCount: 2n });
  expect(await profile(fans[0] ?? author)).toMatchObject({ favoriteCount: 2n });

  const deletedAt = await deleteLater(author, gone);
  await createVideoRemoval({ ...context, now: () => deletedAt + 30_000 })();

  expect(await rowsOf(gone)).toEqual(nothing);
  expect(await origin.objects.list(`videos/${gone}/`)).toEqual([]);
  expect(await origin.objects.head(`raw/${gone}`)).toBeNull();
  expect(await profile(author)).toMatchObject({ totalFavorited: 1n, workCount: 1n });
  expect(await profile(fans[0] ?? author)).toMatchObject({ favoriteCount: 1n });
  expect((await origin.as(fans[1]?.token).favorite.listFavorites({})).videos).toEqual([]);
  expect((await origin.as().comment.listComments({ videoId: BigInt(gone) })).comments).toEqual([]);
  expect(await drifted()).toEqual([]);
  expect(await rowsOf(kept)).toEqual({
    ...nothing,
    videos: 1,
    uploads: 1,
    favorites: 1,
    favoriteCounts: 1,
    comments: 1,
    commentCounts: 1,
  });
  expect(await origin.objects.list(`videos/${kept}/`)).toHaveLength(2);
  await origin.as(author.token).video.deleteVideo({ videoId: BigInt(gone) });
});

test("what comes while a removal settles goes too, and the row goes last", async () => {
  const author = await origin.signUp();
  const id = await makePopular(author, []);
  let now = await deleteLater(author, id);
  const removal = createVideoRemoval({ ...context, now: () => now });
  await removal();
  expect(await origin.objects.list(`videos/${id}/`)).toEqual([]);
  // A worker that held the job, and a like that had seen the video, are late.
  await store(`videos/${id}/2/play.mp4`);
  await origin.db.insert(favorites).values({ userId: 1, videoId: id, authorId: author.userId, id: 1 });
  await reconcile(origin.db, { repair: true });
  now += 25_000;
  await removal();
  expect((await rowsOf(id)).videos).toBe(1);
  now += 6_000;
  await removal();
  expect(await rowsOf(id)).toEqual(nothing);
  expect(await origin.objects.list(`videos/${id}/`)).toEqual([]);
});

test("a removal that fails is taken up again, by whoever comes first", async () => {
  const author = await origin.signUp();
  const id = await makePopular(author, [await origin.signUp()]);
  let now = await deleteLater(author, id);
  const objects = { ...origin.objects, delete: () => Promise.reject(new Error("object storage is away")) };
  await createVideoRemoval({ ...context, objects, now: () => now })();
  expect((await rowsOf(id)).videos).toBe(1);
  now += 30_000;
  const others = [1, 2, 3].map(() => createVideoRemoval({ ...context, now: () => now })());
  expect((await Promise.all(others)).reduce((sum, gone) => sum + gone, 0)).toBeLessThanOrEqual(1);
  expect(await rowsOf(id)).toEqual(nothing);
  expect(await drifted()).toEqual([]);
});

test("more likes and comments than one transaction takes are all removed", async () => {
  const author = await origin.signUp();
  const id = await makePopular(author, []);
  const count = 1201;
  const users = Array.from({ length: count }, (_, index) => 700_000 + index);
  await origin.db
    .insert(favorites)
    .values(users.map((userId) => ({ userId, videoId: id, authorId: author.userId, id: userId })));
  await origin.db
    .insert(comments)
    .values(users.map((number) => ({ id: number, videoId: id, userId: 1, content: "x", createdAt: 1 })));
  await reconcile(origin.db, { repair: true });
  const deletedAt = await deleteLater(author, id);
  await createVideoRemoval({ ...context, now: () => deletedAt + 30_000 })();
  expect(await rowsOf(id)).toEqual(nothing);
  expect(await drifted()).toEqual([]);
});
