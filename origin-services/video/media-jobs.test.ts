import { afterAll, beforeAll, expect, test } from "bun:test";

import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { MediaJobService, type Job } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { eq } from "drizzle-orm";

import { startTestOrigin, type TestOrigin } from "../testing.ts";

let origin: TestOrigin;
let author: { userId: number; token: string };
beforeAll(async () => {
  origin = await startTestOrigin();
  author = await origin.signUp();
});
afterAll(() => origin.stop());

let lastId = 1000;
async function newVideo(changes: Partial<typeof videos.$inferInsert> = {}): Promise<bigint> {
  const id = ++lastId;
  const authorId = author.userId;
  await origin.db.insert(videos).values({
    id,
    authorId,
    title: "t",
    status: "uploaded",
    rawKey: `raw/${id}`,
    createdAt: 1,
    jobDueAt: 1,
    ...changes,
  });
  return BigInt(id);
}

async function row(videoId: bigint) {
  const [found] = await origin.db
    .select()
    .from(videos)
    .where(eq(videos.id, Number(videoId)));
  if (!found) throw new Error("the row is gone");
  return found;
}

async function claim(videoId: bigint): Promise<Job> {
  const { job } = await origin.jobs.claimJob({ jobId: videoId });
  if (!job) throw new Error("there was nothing to claim");
  return job;
}

const lapse = (videoId: bigint) =>
  origin.db
    .update(videos)
    .set({ jobDueAt: 1 })
    .where(eq(videos.id, Number(videoId)));
const outputs = {
  playKey: "videos/1/play.mp4",
  coverKey: "videos/1/cover.jpg",
  width: 720,
  height: 1280,
  durationMs: 5000n,
};
const renew = ({ jobId, fence }: Job) => origin.jobs.renewJob({ jobId, fence });
const complete = (job: Job) => origin.jobs.completeJob({ jobId: job.jobId, fence: job.fence, ...outputs });
const fail = (job: Job, permanent: boolean, reason = "broken") =>
  origin.jobs.failJob({ jobId: job.jobId, fence: job.fence, reason, permanent });
const reason = (call: Promise<unknown>) =>
  call.then(
    () => "success",
    (error: unknown) => Reason[reasonOf(error)],
  );

test("of 20 workers that claim one video at once, one gets it", async () => {
  const videoId = await newVideo();
  const claims = await Promise.all(Array.from({ length: 20 }, () => origin.jobs.claimJob({ jobId: videoId })));
  expect(claims.filter((answer) => answer.job)).toHaveLength(1);
  expect(await row(videoId)).toMatchObject({ status: "processing", jobFence: 1, jobAttempts: 1 });
});

test("a job that is done makes its video ready and visible to everybody", async () => {
  const videoId = await newVideo({ title: "for all to see" });
  await complete(await claim(videoId));
  const { videos: feed } = await origin.as().video.getFeed({});
  const shown = feed.find((video) => video.id === videoId);
  expect(shown).toMatchObject({ title: "for all to see", width: 720, height: 1280, durationMs: 5000n });
  expect(shown?.playUrl).toEndWith("/videos/1/play.mp4");
  expect(shown?.author?.id).toBe(BigInt(author.userId));
});

test("a video that is ready shows its renditions, its stream and its pictures by their URLs", async () => {
  const job = await claim(await newVideo());
  const made = {
    hlsKey: "videos/7/1/hls.m3u8",
    previewKey: "videos/7/1/preview.webp",
    thumbhash: "3OcRJYB4d3h/iIeHeEh3eIhw+j3A",
    renditions: [{ url: "videos/7/1/540.mp4", width: 540, height: 960, bitrate: 900_000, bytes: 5_000_000_000n }],
    covers: [{ url: "videos/7/1/cover.webp", width: 540, height: 960, type: "image/webp" }],
  };
  await origin.jobs.completeJob({ jobId: job.jobId, fence: job.fence, ...outputs, ...made, coverTimeMs: 1500n });
  const { videos: mine } = await origin.as(author.token).video.listPublished({});
  const shown = mine.find((video) => video.id === job.jobId);
  expect(shown?.hlsUrl).toMatch(/^http.*\/videos\/7\/1\/hls\.m3u8$/);
  expect(shown?.previewUrl).toMatch(/^http.*\/videos\/7\/1\/preview\.webp$/);
  expect(shown?.thumbhash).toBe(made.thumbhash);
  expect(shown?.renditions).toMatchObject([{ width: 540, height: 960, bitrate: 900_000, bytes: 5_000_000_000n }]);
  expect(shown?.renditions[0]?.url).toMatch(/^http.*\/videos\/7\/1\/540\.mp4$/);
  expect(shown?.covers).toMatchObject([{ width: 540, height: 960, type: "image/webp" }]);
  expect((await row(job.jobId)).coverTimeMs).toBe(1500);
});

test("more outputs than there is room for are refused", async () => {
  const job = await claim(await newVideo());
  const covers = Array.from({ length: 9 }, () => ({
    url: "videos/7/1/c.webp",
    width: 1,
    height: 1,
    type: "image/webp",
  }));
  const call = origin.jobs.completeJob({ jobId: job.jobId, fence: job.fence, ...outputs, covers });
  expect(await reason(call)).toBe("INVALID_PARAMETER");
});

test("a renewal tells how far the work is, and a new claim starts from nothing", async () => {
  const videoId = await newVideo();
  const { jobId, fence } = await claim(videoId);
  await origin.jobs.renewJob({ jobId, fence, percent: 42 });
  expect((await row(videoId)).progress).toBe(42);
  await origin.jobs.renewJob({ jobId, fence, percent: 420 });
  expect((await row(videoId)).progress).toBe(100);
  await lapse(videoId);
  await claim(videoId);
  expect((await row(videoId)).progress).toBe(0);
});

test("completing twice with one claim is no fault, since the first answer may have been lost", async () => {
  const job = await claim(await newVideo());
  await complete(job);
  const { feedTime } = await row(job.jobId);
  await complete(job);
  expect((await row(job.jobId)).feedTime).toBe(feedTime);
});

test("a worker whose claim was taken over can neither renew, complete nor fail the job", async () => {
  const videoId = await newVideo();
  const late = await claim(videoId);
  await lapse(videoId);
  const current = await claim(videoId);
  expect(current.fence).toBe(late.fence + 1n);
  const calls = [renew(late), complete(late), fail(late, true)];
  expect(await Promise.all(calls.map(reason))).toEqual(["CLAIM_LOST", "CLAIM_LOST", "CLAIM_LOST"]);
  await complete(current);
  expect(await reason(complete(late))).toBe("CLAIM_LOST");
});

test("a renewed claim cannot be taken over", async () => {
  const videoId = await newVideo();
  const job = await claim(videoId);
  await lapse(videoId);
  await renew(job);
  expect((await origin.jobs.claimJob({ jobId: videoId })).job).toBeUndefined();
});

test("nothing is to be claimed of a video that is ready, failed, deleted or unknown", async () => {
  const ids = await Promise.all((["ready", "failed", "deleted"] as const).map((status) => newVideo({ status })));
  for (const videoId of [...ids, 5n]) expect((await origin.jobs.claimJob({ jobId: videoId })).job).toBeUndefined();
});

test("a permanent fault ends the video with a reason that only its author reads, and it counts no longer", async () => {
  const owner = await origin.signUp();
  await origin.db.insert(workCounts).values({ userId: owner.userId, count: 2 });
  const videoId = await newVideo({ authorId: owner.userId });
  await fail(await claim(videoId), true, "The file has no picture. 🎞️");
  const mine = await origin.as(owner.token).video.listPublished({});
  expect(mine.videos[0]).toMatchObject({ id: videoId, statusReason: "The file has no picture. 🎞️" });
  const theirs = await origin.as(author.token).video.listPublished({ userId: BigInt(owner.userId) });
  expect(theirs.videos).toEqual([]);
  expect((await origin.as(owner.token).user.getUser({})).user?.workCount).toBe(1n);
});

test("a transient fault makes the job due again, later every time, and at last ends it", async () => {
  const videoId = await newVideo();
  const waits: number[] = [];
  for (;;) {
    const job = await claim(videoId);
    waits.push(Number((await fail(job, false)).retryInMs));
    if (waits.at(-1) === 0) break;
    expect((await origin.jobs.claimJob({ jobId: videoId })).job).toBeUndefined();
    await lapse(videoId);
  }
  expect(waits.slice(0, 4)).toEqual([5_000, 30_000, 300_000, 300_000]);
  expect(waits).toHaveLength(10);
  expect(await row(videoId)).toMatchObject({ status: "failed", statusReason: "broken" });
});

test("a video whose workers all died ends as failed with a reason", async () => {
  const videoId = await newVideo();
  for (let attempt = 1; attempt <= 10; attempt++) {
    expect((await claim(videoId)).attempt).toBe(attempt);
    await lapse(videoId);
  }
  expect((await origin.jobs.claimJob({ jobId: videoId })).job).toBeUndefined();
  expect((await row(videoId)).status).toBe("failed");
  expect((await row(videoId)).statusReason).toContain("upload it again");
});

test("due jobs are those that nobody holds and whose time has come", async () => {
  const fresh = await newVideo();
  const held = (await claim(await newVideo())).jobId;
  const lapsed = (await claim(await newVideo())).jobId;
  await lapse(lapsed);
  const later = await newVideo({ jobDueAt: Date.now() + 60_000 });
  const { jobIds } = await origin.jobs.listDueJobs({ limit: 100 });
  expect(jobIds).toContain(fresh);
  expect(jobIds).toContain(lapsed);
  expect(jobIds).not.toContain(held);
  expect(jobIds).not.toContain(later);
});

test("a viewer's token opens none of this", async () => {
  const transport = createGrpcWebTransport({
    baseUrl: origin.url,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${author.token}`);
        return next(request);
      },
    ],
  });
  expect(await reason(createClient(MediaJobService, transport).listDueJobs({ limit: 1 }))).toBe("PERMISSION_DENIED");
});
