import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import { videos } from "@flick/db/schema/video.ts";

import { startTestOrigin, type TestOrigin } from "../testing.ts";

setDefaultTimeout(60_000);

const total = 10_000;
const firstId = 10_000;
const toPublish = 40;
/** Over more than two days, some of which have more videos than the cache holds of one. */
const gapMs = 20_000;

let origin: TestOrigin;
beforeAll(async () => {
  origin = await startTestOrigin();
  const author = await origin.signUp();
  const common = { authorId: author.userId, title: "t", rawKey: "r", playKey: "p", jobDueAt: 0 };
  const start = Date.now() - total * gapMs;
  const ready = Array.from({ length: total }, (_, index) => {
    const feedTime = start + index * gapMs;
    return { ...common, id: firstId + index, status: "ready" as const, createdAt: feedTime, feedTime };
  });
  for (let from = 0; from < total; from += 1000) await origin.db.insert(videos).values(ready.slice(from, from + 1000));
  const jobs = Array.from({ length: toPublish }, (_, index) => {
    const job = { status: "processing" as const, jobFence: 1, jobDueAt: Date.now() + 600_000 };
    return { ...common, ...job, id: index + 1, createdAt: start };
  });
  await origin.db.insert(videos).values(jobs);
});
afterAll(() => origin.stop());

async function walk(eachPage: (page: number) => Promise<void> = async () => {}): Promise<number[]> {
  const seen: number[] = [];
  let beforeMs = 0n;
  for (let page = 0; page < total; page++) {
    const answer = await origin.as().video.getFeed({ beforeMs });
    seen.push(...answer.videos.map((video) => Number(video.id)));
    if (!answer.hasMore) return seen;
    beforeMs = answer.nextBeforeMs;
    await eachPage(page);
  }
  throw new Error("the feed does not end");
}

test("walking through ten thousand videos meets each exactly once, also while others are published", async () => {
  const newestFirst = Array.from({ length: total }, (_, index) => firstId + total - 1 - index);
  const published: number[] = [];
  const seen = await walk(async (page) => {
    if (page % 8 !== 0 || published.length === toPublish) return;
    const id = published.length + 1;
    await origin.jobs.completeJob({ jobId: BigInt(id), fence: 1n, playKey: "p", coverKey: "c" });
    published.unshift(id);
  });
  expect(seen).toEqual(newestFirst);
  expect(published).toHaveLength(toPublish);
  // The second time most of it comes out of the cache, and the new ones are in front.
  expect(await walk()).toEqual([...published, ...newestFirst]);
});
