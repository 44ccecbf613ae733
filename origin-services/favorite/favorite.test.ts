import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { favorites } from "@flick/db/schema/favorite.ts";
import { eq } from "drizzle-orm";

import { insertVideo, outcome, publishVideo } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";

interface Account {
  userId: number;
  token: string;
}

let origin: TestOrigin;
let author: Account;
let fan: Account;
let other: Account;
beforeAll(async () => {
  origin = await startTestOrigin();
  [author, fan, other] = await Promise.all([origin.signUp(), origin.signUp(), origin.signUp()]);
});
afterAll(() => origin.stop());

const set = (who: Account, videoId: bigint, favorite: boolean) =>
  origin.as(who.token).favorite.setFavorite({ videoId, favorite });
const like = (who: Account, videoId: bigint) => set(who, videoId, true);
const unlike = (who: Account, videoId: bigint) => set(who, videoId, false);

/** A video as one of these people sees it in the feed. */
async function seen(videoId: bigint, who?: Account) {
  const { videos } = await origin.as(who?.token).video.getFeed({ count: 30 });
  const video = videos.find(({ id }) => id === videoId);
  if (!video) throw new Error("the video is not in the feed");
  return { count: Number(video.favoriteCount), mine: video.isFavorite };
}

async function countsOf(who: Account) {
  const { user } = await origin.as(who.token).user.getUser({});
  return { given: Number(user?.favoriteCount), received: Number(user?.totalFavorited) };
}

const listed = async (who: Account, request: { userId?: bigint; cursor?: bigint; count?: number } = {}) =>
  (await origin.as(who.token).favorite.listFavorites(request)).videos.map((video) => video.id);

describe("a like", () => {
  test("is in the list and in all counts for the next request, and once however often it is repeated", async () => {
    const viewer = await origin.signUp();
    const owner = await origin.signUp();
    const videoId = await publishVideo(origin, owner.userId);
    for (let times = 0; times < 3; times++) await like(viewer, videoId);
    expect(await listed(viewer)).toEqual([videoId]);
    expect(await seen(videoId, viewer)).toEqual({ count: 1, mine: true });
    expect(await countsOf(viewer)).toEqual({ given: 1, received: 0 });
    expect(await countsOf(owner)).toEqual({ given: 0, received: 1 });
  });

  test("is taken back once however often that is repeated, and can be given again", async () => {
    const viewer = await origin.signUp();
    const videoId = await publishVideo(origin, author.userId);
    await like(viewer, videoId);
    for (let times = 0; times < 3; times++) await unlike(viewer, videoId);
    expect(await listed(viewer)).toEqual([]);
    expect(await seen(videoId, viewer)).toEqual({ count: 0, mine: false });
    await like(viewer, videoId);
    expect(await listed(viewer)).toEqual([videoId]);
    expect(await seen(videoId, viewer)).toEqual({ count: 1, mine: true });
  });

  test("taking back one that was never given succeeds, also of a video that never was", async () => {
    const videoId = await publishVideo(origin, author.userId);
    await unlike(fan, videoId);
    await unlike(fan, 5n);
    expect(await seen(videoId)).toEqual({ count: 0, mine: false });
  });

  test("belongs to the one who gave it: nobody else and no stranger sees it as theirs", async () => {
    const videoId = await publishVideo(origin, author.userId);
    await like(fan, videoId);
    expect(await seen(videoId, fan)).toEqual({ count: 1, mine: true });
    expect(await seen(videoId, other)).toEqual({ count: 1, mine: false });
    expect(await seen(videoId)).toEqual({ count: 1, mine: false });
  });

  test("of one's own video counts on both sides", async () => {
    const owner = await origin.signUp();
    const videoId = await publishVideo(origin, owner.userId);
    await like(owner, videoId);
    expect(await countsOf(owner)).toEqual({ given: 1, received: 1 });
    await unlike(owner, videoId);
    expect(await countsOf(owner)).toEqual({ given: 0, received: 0 });
  });

  test("counts for its video, not for another one of the author's or one with the author's id", async () => {
    const owner = await origin.signUp();
    const [liked, untouched] = [await publishVideo(origin, owner.userId), await publishVideo(origin, owner.userId)];
    const namesake = await publishVideo(origin, other.userId, { id: owner.userId });
    await Promise.all([like(fan, liked), like(other, liked)]);
    expect(await seen(liked)).toMatchObject({ count: 2 });
    expect(await seen(untouched)).toMatchObject({ count: 0 });
    expect(await seen(namesake)).toMatchObject({ count: 0 });
    expect(await countsOf(owner)).toMatchObject({ received: 2 });
  });
});

describe("likes at once", () => {
  test("of one person for one video count once", async () => {
    const viewer = await origin.signUp();
    const videoId = await publishVideo(origin, author.userId);
    await Promise.all(Array.from({ length: 40 }, () => like(viewer, videoId)));
    expect(await seen(videoId, viewer)).toEqual({ count: 1, mine: true });
    expect(await countsOf(viewer)).toEqual({ given: 1, received: 0 });
  });

  test.each([true, false])("and taken back, in one batch, end as the last of them says: %p", async (last) => {
    const viewer = await origin.signUp();
    const videoId = await publishVideo(origin, author.userId);
    const connection = origin.as(viewer.token).favorite;
    const actions = Array.from({ length: 20 }, (_, index) => (index % 2 === 0) === last);
    const calls: Promise<unknown>[] = [];
    for (const favorite of [...actions, last]) {
      calls.push(connection.setFavorite({ videoId, favorite }));
      // Enough for them to arrive in this order, far too little for a commit.
      await Bun.sleep(1);
    }
    await Promise.all(calls);
    expect(await seen(videoId, viewer)).toEqual({ count: last ? 1 : 0, mine: last });
    expect(await countsOf(viewer)).toEqual({ given: last ? 1 : 0, received: 0 });
  });

  test("of which some are for nothing leave the others alone", async () => {
    const videoId = await publishVideo(origin, author.userId);
    const ids = Array.from({ length: 20 }, (_, index) => (index % 4 === 0 ? BigInt(index + 1) : videoId));
    const outcomes = await Promise.all(ids.map((id) => outcome(like(fan, id))));
    expect(outcomes).toEqual(ids.map((id) => (id === videoId ? "ok" : "VIDEO_NOT_FOUND")));
    expect(await seen(videoId)).toMatchObject({ count: 1 });
  });
});

describe("a video", () => {
  test.each(["uploaded", "processing", "failed", "deleted"] as const)("that is %s takes no likes", async (status) => {
    const videoId = await insertVideo(origin.db, author.userId, { status });
    expect(await outcome(like(fan, videoId))).toBe("VIDEO_NOT_FOUND");
    expect(await origin.db.$count(favorites, eq(favorites.videoId, Number(videoId)))).toBe(0);
  });

  test.each([0n, -1n, 7n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)])("with the id %p there is none", async (videoId) => {
    expect(await outcome(like(fan, videoId))).toBe("VIDEO_NOT_FOUND");
    expect(await outcome(unlike(fan, videoId))).toBe("ok");
  });

  test("that was deleted leaves the list, and the like of it can be taken back", async () => {
    const viewer = await origin.signUp();
    const owner = await origin.signUp();
    const videoId = await publishVideo(origin, owner.userId);
    await like(viewer, videoId);
    await origin.as(owner.token).video.deleteVideo({ videoId });
    expect(await listed(viewer)).toEqual([]);
    await unlike(viewer, videoId);
    expect(await countsOf(viewer)).toEqual({ given: 0, received: 0 });
    expect(await countsOf(owner)).toEqual({ given: 0, received: 0 });
    expect(await outcome(like(viewer, videoId))).toBe("VIDEO_NOT_FOUND");
  });
});

describe("the list", () => {
  test("is newest like first, whatever the age of the videos, and pages by its cursor meet each once", async () => {
    const viewer = await origin.signUp();
    const ids: bigint[] = [];
    for (let index = 0; index < 7; index++) ids.push(await publishVideo(origin, author.userId));
    const order = [3, 0, 6, 1, 5, 2, 4].map((index) => ids[index] ?? 0n);
    for (const videoId of order) await like(viewer, videoId);
    const walked: bigint[] = [];
    let cursor = 0n;
    for (let page = 0; page < 4; page++) {
      const answer = await origin.as(viewer.token).favorite.listFavorites({ cursor, count: 2 });
      walked.push(...answer.videos.map((video) => video.id));
      expect(answer.hasMore).toBe(page < 3);
      cursor = answer.nextCursor;
    }
    expect(walked).toEqual(order.toReversed());
  });

  test("of somebody else shows what they like, with the caller's own likes marked", async () => {
    const [viewer, owner] = await Promise.all([origin.signUp(), origin.signUp()]);
    const [both, theirs] = [await publishVideo(origin, author.userId), await publishVideo(origin, author.userId)];
    for (const videoId of [both, theirs]) await like(owner, videoId);
    await like(viewer, both);
    const { videos } = await origin.as(viewer.token).favorite.listFavorites({ userId: BigInt(owner.userId) });
    expect(videos.map(({ id, isFavorite }) => [id, isFavorite])).toEqual([
      [theirs, false],
      [both, true],
    ]);
  });

  test("has nothing for somebody unknown, and takes cursors and counts that nobody gave out", async () => {
    expect(await listed(fan, { userId: 5n })).toEqual([]);
    for (const cursor of [-1n, 1n, 2n ** 53n, 2n ** 63n - 1n]) {
      expect(await outcome(listed(fan, { cursor, count: 2 }))).toBe("ok");
    }
    for (const count of [-1, 101, 2 ** 31 - 1]) expect(await outcome(listed(fan, { count }))).toBe("ok");
  });
});

describe("nobody", () => {
  test("who is not signed in likes or sees lists", async () => {
    const videoId = await publishVideo(origin, author.userId);
    const stranger = origin.as().favorite;
    expect(await outcome(stranger.setFavorite({ videoId, favorite: true }))).toBe("UNAUTHENTICATED");
    expect(await outcome(stranger.listFavorites({ userId: BigInt(fan.userId) }))).toBe("UNAUTHENTICATED");
    expect(await outcome(origin.as("forged").favorite.setFavorite({ videoId, favorite: true }))).toBe(
      "UNAUTHENTICATED",
    );
    expect(await seen(videoId)).toEqual({ count: 0, mine: false });
  });

  test("but our own services asks what somebody else likes", async () => {
    const { favorite } = origin.as(fan.token);
    expect(await outcome(favorite.batchGetVideoFavorites({ videoIds: [1n], viewerId: 1n }))).toBe("PERMISSION_DENIED");
    expect(await outcome(favorite.batchGetUserFavorites({ userIds: [1n] }))).toBe("PERMISSION_DENIED");
  });
});
