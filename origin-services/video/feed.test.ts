import { afterAll, beforeAll, expect, test } from "bun:test";

import { videos } from "@flick/db/schema/video.ts";
import { eq } from "drizzle-orm";

import { startTestOrigin, type TestOrigin } from "../testing.ts";

const total = 100;
const start = Date.now() - 1_000_000;

let origin: TestOrigin;
let author: { userId: number; token: string };
beforeAll(async () => {
  origin = await startTestOrigin();
  author = await origin.signUp();
  await origin.db.insert(videos).values(Array.from({ length: total }, (_, index) => readyVideo(index)));
});
afterAll(() => origin.stop());

function readyVideo(index: number) {
  const times = { createdAt: start + index, feedTime: start + index, jobDueAt: 0 };
  const id = 5000 + index;
  return {
    id,
    authorId: author.userId,
    title: `${index}`,
    status: "ready" as const,
    rawKey: "r",
    playKey: "p",
    ...times,
  };
}

async function walk(count: number, eachPage: () => Promise<unknown> = async () => {}): Promise<bigint[]> {
  const seen: bigint[] = [];
  let beforeMs = 0n;
  for (let page = 0; page < total; page++) {
    const answer = await origin.as().video.getFeed({ beforeMs, count });
    seen.push(...answer.videos.map((video) => video.id));
    beforeMs = answer.nextBeforeMs;
    if (!answer.hasMore) return seen;
    await eachPage();
  }
  throw new Error("the feed does not end");
}

test("a feed page has 30 videos at most, newest first, and says where the next begins", async () => {
  const page = await origin.as().video.getFeed({ count: 999 });
  expect(page.videos.map((video) => Number(video.title))).toEqual(
    Array.from({ length: 30 }, (_, index) => total - 1 - index),
  );
  expect(page.nextBeforeMs).toBe(BigInt(start + total - 30));
  expect(page.hasMore).toBe(true);
});

test.each([1, 7, 30])("walking by pages of %d meets every video once", async (count) => {
  const seen = await walk(count);
  expect(seen).toHaveLength(total);
  expect(new Set(seen).size).toBe(total);
});

test("walking while videos become ready meets each that was there exactly once", async () => {
  let next = total;
  const added: number[] = [];
  const seen = await walk(10, async () => {
    const video = { ...readyVideo(next++), feedTime: Date.now() };
    added.push(video.id);
    await origin.db.insert(videos).values(video);
  });
  expect(seen.length).toBe(total);
  expect(new Set(seen).size).toBe(total);
  for (const id of added) await origin.db.delete(videos).where(eq(videos.id, id));
});

test("beyond its end the feed is empty and stays where it is", async () => {
  const page = await origin.as().video.getFeed({ beforeMs: BigInt(start) });
  expect(page).toMatchObject({ videos: [], nextBeforeMs: BigInt(start), hasMore: false });
});

test.each([0n, -5n, BigInt(Date.now()) + 1_000_000_000n])("a feed before %d begins now", async (beforeMs) => {
  expect((await origin.as().video.getFeed({ beforeMs, count: 1 })).videos[0]?.title).toBe(String(total - 1));
});

test("videos that became ready in the same millisecond are all in the feed", async () => {
  const ids = Array.from({ length: 20 }, (_, index) => 9000 + index);
  const jobs = ids.map((id) => ({
    id,
    authorId: author.userId,
    title: "tie",
    rawKey: "r",
    createdAt: 1,
    jobDueAt: Date.now() + 60_000,
    status: "processing" as const,
    jobFence: 1,
  }));
  await origin.db.insert(videos).values(jobs);
  await Promise.all(
    ids.map((id) => origin.jobs.completeJob({ jobId: BigInt(id), fence: 1n, playKey: "p", coverKey: "c" })),
  );
  const seen = await walk(3);
  for (const id of ids) expect(seen.filter((met) => met === BigInt(id))).toHaveLength(1);
  for (const id of ids) await origin.db.delete(videos).where(eq(videos.id, id));
});

test("an author's list pages by its cursor", async () => {
  const { video } = origin.as(author.token);
  const seen: bigint[] = [];
  for (let cursor = 0n; ;) {
    const page = await video.listPublished({ cursor, count: 30 });
    seen.push(...page.videos.map((each) => each.id));
    cursor = page.nextCursor;
    if (!page.hasMore) break;
  }
  expect(seen).toEqual(Array.from({ length: total }, (_, index) => BigInt(5000 + total - 1 - index)));
});

test("an author without videos has an empty list", async () => {
  const { userId } = await origin.signUp();
  expect((await origin.as(author.token).video.listPublished({ userId: BigInt(userId) })).videos).toEqual([]);
});
