import { afterAll, beforeAll, expect, test } from "bun:test";

import { insertVideo, outcome } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";

let origin: TestOrigin;
let author: { userId: number; token: string };
let viewer: { userId: number; token: string };
let other: { userId: number; token: string };
let liked: bigint;
let left: bigint;
beforeAll(async () => {
  origin = await startTestOrigin();
  [author, viewer, other] = [await origin.signUp(), await origin.signUp(), await origin.signUp()];
  liked = await insertVideo(origin.db, author.userId);
  left = await insertVideo(origin.db, other.userId);
});
afterAll(() => origin.stop());

const unknown = 424_242n;

/** What they see, all asked about at once. */
async function viewsOf(...viewers: { token: string }[]) {
  const { favoriteCounts, commentCounts, views } = await origin.as().video.getFeedViews({
    videoIds: [left, unknown, liked],
    authorIds: [BigInt(author.userId), unknown, BigInt(other.userId)],
    tokens: viewers.map(({ token }) => token),
  });
  return {
    favoriteCounts,
    commentCounts,
    views: views.map(({ isFavorite, isFollow, refusal }) => ({ isFavorite, isFollow, refusal })),
  };
}

const none = { isFavorite: [false, false, false], isFollow: [false, false, false], refusal: "" };

test("shows viewers their likes and follows and the counts, in the order asked for, at once after each change", async () => {
  const { favorite, relation, comment } = origin.as(viewer.token);
  const nothing = { favoriteCounts: [0n, 0n, 0n], commentCounts: [0n, 0n, 0n] };
  expect(await viewsOf(viewer)).toEqual({ ...nothing, views: [none] });

  await favorite.setFavorite({ videoId: liked, favorite: true });
  await relation.setFollow({ userId: BigInt(other.userId), follow: true });
  await comment.createComment({ videoId: left, content: "so it is" });
  const counts = { favoriteCounts: [0n, 0n, 1n], commentCounts: [1n, 0n, 0n] };
  const theirs = { isFavorite: [false, false, true], isFollow: [false, false, true], refusal: "" };
  expect(await viewsOf(author, viewer, other, viewer)).toEqual({ ...counts, views: [none, theirs, none, theirs] });

  await favorite.setFavorite({ videoId: liked, favorite: false });
  await relation.setFollow({ userId: BigInt(other.userId), follow: false });
  expect(await viewsOf(viewer, author)).toEqual({ ...nothing, commentCounts: [1n, 0n, 0n], views: [none, none] });
});

test("refuses a bad token alone", async () => {
  const { views } = await viewsOf({ token: "rubbish" }, viewer, { token: "" });
  expect(views).toMatchObject([
    { refusal: "the token is not valid: sign in again", isFavorite: [] },
    none,
    { refusal: "the token is not valid: sign in again", isFavorite: [] },
  ]);
});

test("answers an id as often as it is asked for, and many viewers of many videos", async () => {
  const ids = Array.from({ length: 100 }, (_, index) => (index < 2 ? liked : BigInt(500_000 + index)));
  await origin.as(viewer.token).favorite.setFavorite({ videoId: liked, favorite: true });
  const tokens = Array.from({ length: 32 }, (_, index) => (index === 31 ? viewer.token : author.token));
  const more = [
    other,
    await origin.signUp(),
    ...(await Promise.all(Array.from({ length: 10 }, () => origin.signUp()))),
  ];
  more.forEach(({ token }, index) => (tokens[index] = token));
  const { views } = await origin.as().video.getFeedViews({ videoIds: ids, authorIds: ids, tokens });
  expect(views).toHaveLength(32);
  for (const [index, { isFavorite }] of views.entries())
    expect(isFavorite).toEqual(ids.map((id) => index === 31 && id === liked));
});

test("takes at most 100 videos, 100 authors and 32 viewers", async () => {
  const ids = Array.from({ length: 101 }, (_, index) => BigInt(index + 1));
  const tokens = Array.from({ length: 33 }, () => viewer.token);
  const call = (videoIds: bigint[], authorIds: bigint[], some: string[]) =>
    outcome(origin.as().video.getFeedViews({ videoIds, authorIds, tokens: some }));
  expect(await call(ids, [], [])).toBe("INVALID_PARAMETER");
  expect(await call([], ids, [])).toBe("INVALID_PARAMETER");
  expect(await call([left], [], tokens)).toBe("INVALID_PARAMETER");
  expect(await call(ids.slice(1), ids.slice(1), tokens.slice(1))).toBe("ok");
  expect(await call([], [], [])).toBe("ok");
});
