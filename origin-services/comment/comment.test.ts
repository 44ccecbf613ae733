import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { comments } from "@flick/db/schema/comment.ts";
import { eq } from "drizzle-orm";

import { insertVideo, outcome, publishVideo } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";

interface Account {
  userId: number;
  token: string;
  name: string;
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

const newVideo = () => publishVideo(origin, author.userId);

async function post(who: Account, videoId: bigint, content = "nice"): Promise<bigint> {
  const { comment } = await origin.as(who.token).comment.createComment({ videoId, content });
  if (!comment) throw new Error("the comment is missing");
  return comment.id;
}

const remove = (who: Account, videoId: bigint, commentId: bigint) =>
  origin.as(who.token).comment.deleteComment({ videoId, commentId });

const list = async (videoId: bigint, request: { cursor?: bigint; count?: number } = {}) =>
  (await origin.as().comment.listComments({ videoId, ...request })).comments;

async function countOf(videoId: bigint): Promise<number> {
  const { videos } = await origin.as().video.getFeed({ count: 30 });
  return Number(videos.find(({ id }) => id === videoId)?.commentCount ?? -1);
}

describe("a comment", () => {
  test("comes back whole, and is in the list and the count for the next request", async () => {
    const videoId = await newVideo();
    const before = Date.now();
    const { comment } = await origin.as(fan.token).comment.createComment({ videoId, content: "  très bien 🎬 " });
    expect(comment).toMatchObject({ content: "très bien 🎬", user: { id: BigInt(fan.userId), name: fan.name } });
    expect(Number(comment?.createTime)).toBeGreaterThanOrEqual(before);
    expect(Number(comment?.createTime)).toBeLessThanOrEqual(Date.now());
    expect(await list(videoId)).toMatchObject([{ id: comment?.id, content: "très bien 🎬", user: { name: fan.name } }]);
    expect(await countOf(videoId)).toBe(1);
  });

  test("may be written twice with the same words", async () => {
    const videoId = await newVideo();
    const ids = [await post(fan, videoId, "first!"), await post(fan, videoId, "first!")];
    expect(new Set(ids).size).toBe(2);
    expect(await countOf(videoId)).toBe(2);
  });

  test("may be written twice with the same words in the same millisecond", async () => {
    const videoId = await newVideo();
    const ids = [await post(fan, videoId, "first!"), await post(fan, videoId, "first!")];
    await origin.db
      .update(comments)
      .set({ createdAt: 1 })
      .where(eq(comments.videoId, Number(videoId)));
    for (const from of ["the database", "the cache"]) {
      expect([from, (await list(videoId)).map(({ id }) => id)]).toEqual([from, ids.toReversed()]);
    }
  });

  test.each([
    ["nothing", ""],
    ["blanks", " \n\t　"],
    ["characters that are drawn as nothing", "\u200B\u200D\uFEFF\u2060"],
    ["10 000 characters", "x".repeat(10_000)],
    ["501 characters", "é".repeat(501)],
  ])("of %s is refused, names the parameter and counts nowhere", async (_name, content) => {
    const videoId = await newVideo();
    const call = origin.as(fan.token).comment.createComment({ videoId, content });
    await expect(call).rejects.toThrow("comment_text");
    expect(await outcome(origin.as(fan.token).comment.createComment({ videoId, content }))).toBe("INVALID_PARAMETER");
    expect(await countOf(videoId)).toBe(0);
  });

  test("of 500 characters of four bytes is kept whole", async () => {
    const videoId = await newVideo();
    await post(fan, videoId, "🎬".repeat(500));
    expect((await list(videoId))[0]?.content).toBe("🎬".repeat(500));
  });
});

describe("a video", () => {
  test.each(["uploaded", "processing", "failed", "deleted"] as const)(
    "that is %s takes no comments",
    async (status) => {
      const videoId = await insertVideo(origin.db, author.userId, { status });
      expect(await outcome(post(fan, videoId))).toBe("VIDEO_NOT_FOUND");
      expect(await origin.db.$count(comments, eq(comments.videoId, Number(videoId)))).toBe(0);
    },
  );

  test.each([0n, -1n, 7n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)])("with the id %p there is none", async (videoId) => {
    expect(await outcome(post(fan, videoId))).toBe("VIDEO_NOT_FOUND");
    expect(await outcome(remove(fan, videoId, 5n))).toBe("ok");
    expect(await list(videoId)).toEqual([]);
  });

  test("has only its own comments in its list and its count", async () => {
    const [one, another] = [await newVideo(), await newVideo()];
    await post(fan, one);
    expect(await list(another)).toEqual([]);
    expect([await countOf(one), await countOf(another)]).toEqual([1, 0]);
  });
});

describe("deleting", () => {
  test("is open to the comment's author and to the video's author", async () => {
    const videoId = await newVideo();
    for (const who of [fan, author]) {
      const id = await post(fan, videoId);
      await remove(who, videoId, id);
      expect(await list(videoId)).toEqual([]);
      expect(await countOf(videoId)).toBe(0);
    }
  });

  test("is not open to anybody else, the author of another video included", async () => {
    const videoId = await newVideo();
    await publishVideo(origin, other.userId);
    const id = await post(fan, videoId);
    expect(await outcome(remove(other, videoId, id))).toBe("COMMENT_NOT_YOURS");
    expect(await list(videoId)).toHaveLength(1);
    expect(await countOf(videoId)).toBe(1);
  });

  test("by way of another video is refused, also for the author of that one", async () => {
    const videoId = await newVideo();
    const theirs = await publishVideo(origin, other.userId);
    const id = await post(fan, videoId);
    expect(await outcome(remove(other, theirs, id))).toBe("COMMENT_NOT_FOUND");
    expect(await outcome(remove(fan, theirs, id))).toBe("COMMENT_NOT_FOUND");
    expect([await countOf(videoId), await countOf(theirs)]).toEqual([1, 0]);
  });

  test("twice answers ok and counts once, one after the other and at once", async () => {
    const videoId = await newVideo();
    const kept = await post(fan, videoId, "stays");
    const id = await post(fan, videoId, "goes");
    await remove(fan, videoId, id);
    await remove(fan, videoId, id);
    const next = await post(fan, videoId, "goes too");
    await Promise.all(Array.from({ length: 20 }, (_, index) => remove(index % 2 ? fan : author, videoId, next)));
    expect((await list(videoId)).map((comment) => comment.id)).toEqual([kept]);
    expect(await countOf(videoId)).toBe(1);
  });

  test("takes ids that no comment can have", async () => {
    const videoId = await newVideo();
    for (const id of [0n, -1n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)]) await remove(fan, videoId, id);
    expect(await countOf(videoId)).toBe(0);
  });

  test("still works for the comment's author when the video is gone", async () => {
    const videoId = await newVideo();
    const id = await post(fan, videoId);
    await origin.as(author.token).video.deleteVideo({ videoId });
    await remove(fan, videoId, id);
    expect(await origin.db.$count(comments, eq(comments.videoId, Number(videoId)))).toBe(0);
  });
});

describe("many comments", () => {
  test("at once are all kept and counted, and refusals among them fail alone", async () => {
    const videoId = await newVideo();
    const posts = Array.from({ length: 200 }, (_, index) => post(index % 2 ? fan : other, index % 5 ? videoId : 7n));
    const outcomes = await Promise.all(posts.map(outcome));
    expect(outcomes.filter((result) => result === "VIDEO_NOT_FOUND")).toHaveLength(40);
    expect(outcomes.filter((result) => result === "ok")).toHaveLength(160);
    expect(await countOf(videoId)).toBe(160);
    const first = await list(videoId);
    const rest = await list(videoId, { cursor: first.at(-1)?.id ?? 0n });
    expect(new Set([...first, ...rest].map((comment) => comment.id)).size).toBe(160);
  });

  test("are listed newest first, and pages by the cursor meet each once while new ones come", async () => {
    const videoId = await newVideo();
    const ids: bigint[] = [];
    for (let index = 0; index < 7; index++) ids.push(await post(fan, videoId, `${index}`));
    const walked: bigint[] = [];
    let cursor = 0n;
    for (let page = 0; page < 4; page++) {
      const answer = await origin.as().comment.listComments({ videoId, cursor, count: 2 });
      walked.push(...answer.comments.map((comment) => comment.id));
      expect(answer.hasMore).toBe(page < 3);
      cursor = answer.nextCursor;
      await post(other, videoId, "meanwhile");
    }
    expect(walked).toEqual(ids.toReversed());
  });

  test("are listed with the viewer's own follows", async () => {
    const videoId = await newVideo();
    await post(other, videoId);
    const viewer = await origin.signUp();
    await origin.as(viewer.token).relation.setFollow({ userId: BigInt(other.userId), follow: true });
    const seenBy = async (token?: string) =>
      (await origin.as(token).comment.listComments({ videoId })).comments[0]?.user?.isFollow;
    expect(await Promise.all([viewer.token, fan.token, undefined].map(seenBy))).toEqual([true, false, false]);
  });

  test("take cursors and counts that nobody gave out", async () => {
    const videoId = await newVideo();
    await post(fan, videoId);
    for (const cursor of [-1n, 1n, 2n ** 53n, 2n ** 63n - 1n])
      expect(await outcome(list(videoId, { cursor }))).toBe("ok");
    for (const count of [-1, 101, 2 ** 31 - 1]) expect(await list(videoId, { count })).toHaveLength(1);
  });
});

describe("somebody who is not signed in", () => {
  test("reads comments, but neither writes nor deletes any", async () => {
    const videoId = await newVideo();
    const id = await post(fan, videoId);
    const stranger = origin.as().comment;
    expect(await outcome(stranger.createComment({ videoId, content: "x" }))).toBe("UNAUTHENTICATED");
    expect(await outcome(stranger.deleteComment({ videoId, commentId: id }))).toBe("UNAUTHENTICATED");
    expect(await list(videoId)).toHaveLength(1);
  });

  test("or is a viewer does not get at what only our services ask", async () => {
    for (const { comment } of [origin.as(), origin.as(fan.token)]) {
      expect(await outcome(comment.batchGetCommentCounts({ videoIds: [1n] }))).toBe("PERMISSION_DENIED");
    }
  });
});
