import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { videoCovers, videos } from "@flick/db/schema/video.ts";
import type { CoverJob } from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import { VideoStatus } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { createLog } from "@flick/platform/log.ts";
import { eq } from "drizzle-orm";

import { insertVideo, outcome } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";
import { removeOldCovers } from "./cover-removal.ts";
import { encodeCovers } from "./outputs.ts";

setDefaultTimeout(30_000);

let origin: TestOrigin;
let author: { userId: number; token: string };
beforeAll(async () => {
  origin = await startTestOrigin();
  author = await origin.signUp();
});
afterAll(() => origin.stop());

const jpeg = "image/jpeg";
let lastId = 4_000_000_000_000 + Math.floor(Math.random() * 1e9) * 100;

/** One that is ready, ten seconds long, and shows what was at 3 s. */
async function newVideo(changes: Partial<typeof videos.$inferInsert> = {}): Promise<bigint> {
  const id = ++lastId;
  const folder = `videos/${id}/1/`;
  return insertVideo(origin.db, author.userId, {
    id,
    playKey: `${folder}720.mp4`,
    coverKey: `${folder}cover-360.jpg`,
    previewKey: `${folder}preview.webp`,
    covers: encodeCovers([{ url: `${folder}cover-360.jpg`, width: 360, height: 640, type: jpeg }]),
    coverTimeMs: 3000,
    durationMs: 10_000,
    ...changes,
  });
}

const choose = (videoId: bigint, timeMs: bigint, token = author.token) =>
  origin.as(token).video.chooseCover({ videoId, timeMs });
const status = (videoId: bigint) => origin.as(author.token).video.getPublishStatus({ videoId });

async function wishOf(videoId: bigint) {
  const [row] = await origin.db
    .select()
    .from(videoCovers)
    .where(eq(videoCovers.id, Number(videoId)));
  return row;
}

async function videoOf(videoId: bigint) {
  const [row] = await origin.db
    .select()
    .from(videos)
    .where(eq(videos.id, Number(videoId)));
  return row;
}

async function claim(videoId: bigint): Promise<CoverJob> {
  const { job } = await origin.coverJobs.claimJob({ jobId: videoId });
  if (!job) throw new Error("there was nothing to claim");
  return job;
}

const folderOf = ({ jobId, fence }: CoverJob) => `videos/${jobId}/covers/${fence}/`;
const complete = (job: CoverJob) =>
  origin.coverJobs.completeJob({
    jobId: job.jobId,
    fence: job.fence,
    coverKey: `${folderOf(job)}cover-720.jpg`,
    covers: [{ url: `${folderOf(job)}cover-720.jpg`, width: 720, height: 1280, type: jpeg }],
    previewKey: `${folderOf(job)}preview.webp`,
    thumbhash: "new",
  });
const fail = ({ jobId, fence }: CoverJob, permanent: boolean) =>
  origin.coverJobs.failJob({ jobId, fence, reason: "it cannot be cut", permanent });

describe("a cover that is chosen", () => {
  test("is a job until it is made, and is shown everywhere then", async () => {
    const videoId = await newVideo();
    const { video } = origin.as();
    const shown = async () => (await video.getFeed({})).videos.find(({ id }) => id === videoId);
    expect((await shown())?.coverUrl).toEndWith("/1/cover-360.jpg");
    expect(await status(videoId)).toMatchObject({ coverStatus: VideoStatus.UNSPECIFIED, coverTimeMs: 3000n });

    await choose(videoId, 7000n);
    expect(await status(videoId)).toMatchObject({ status: VideoStatus.READY, coverStatus: VideoStatus.PROCESSING });
    expect((await origin.coverJobs.listDueJobs({ limit: 100 })).jobIds).toContain(videoId);
    const job = await claim(videoId);
    expect(job).toMatchObject({ rawKey: `videos/${videoId}/1/720.mp4`, timeMs: 7000n, attempt: 1 });
    expect(await status(videoId)).toMatchObject({ coverStatus: VideoStatus.PROCESSING, coverTimeMs: 7000n });
    expect((await shown())?.coverUrl).toEndWith("/1/cover-360.jpg");

    await complete(job);
    const after = await shown();
    expect(after?.coverUrl).toEndWith(`/${folderOf(job)}cover-720.jpg`);
    expect(after?.previewUrl).toEndWith(`/${folderOf(job)}preview.webp`);
    expect(after).toMatchObject({ thumbhash: "new", covers: [{ width: 720, height: 1280, type: jpeg }] });
    expect(await status(videoId)).toMatchObject({ coverStatus: VideoStatus.READY, coverTimeMs: 7000n });
    const { videos: mine } = await origin.as(author.token).video.listPublished({});
    expect(mine.find(({ id }) => id === videoId)?.coverUrl).toBe(after?.coverUrl ?? "");
  });

  test("is the author's own to choose, of a video that is ready, within its length", async () => {
    const [videoId, other] = [await newVideo(), await origin.signUp()];
    expect(await outcome(choose(videoId, 0n, other.token))).toBe("VIDEO_NOT_FOUND");
    expect(await outcome(choose(1n, 0n))).toBe("VIDEO_NOT_FOUND");
    expect(await outcome(origin.as().video.chooseCover({ videoId, timeMs: 0n }))).toBe("UNAUTHENTICATED");
    for (const state of ["uploaded", "processing", "failed"] as const) {
      expect(await outcome(choose(await newVideo({ status: state, coverKey: "" }), 0n))).toBe("VIDEO_NOT_READY");
    }
    expect(await outcome(choose(videoId, -1n))).toBe("INVALID_PARAMETER");
    expect(await outcome(choose(videoId, 10_000n))).toBe("INVALID_PARAMETER");
    await expect(choose(videoId, 10_000n)).rejects.toThrow("from 0 to 9999");
    expect(await wishOf(videoId)).toBeUndefined();
    expect(await outcome(choose(videoId, 9999n))).toBe("ok");
    expect(await outcome(choose(videoId, 0n))).toBe("ok");
  });

  test("is made once, however often it is asked for", async () => {
    const videoId = await newVideo();
    await choose(videoId, 3000n);
    expect(await wishOf(videoId)).toBeUndefined();
    await choose(videoId, 5000n);
    const job = await claim(videoId);
    const before = await wishOf(videoId);
    await choose(videoId, 5000n);
    expect(await wishOf(videoId)).toEqual(before);
    await complete(job);
    await choose(videoId, 5000n);
    expect(await wishOf(videoId)).toMatchObject({ status: "ready", jobFence: Number(job.fence) });
    // The answer to the first may have been lost.
    await complete(job);
  });

  test("gives way to a newer wish, also while somebody works on it", async () => {
    const videoId = await newVideo();
    await choose(videoId, 5000n);
    const late = await claim(videoId);
    await choose(videoId, 6000n);
    const calls = [complete(late), fail(late, true), origin.coverJobs.renewJob({ jobId: videoId, fence: late.fence })];
    expect(await Promise.all(calls.map(outcome))).toEqual(["CLAIM_LOST", "CLAIM_LOST", "CLAIM_LOST"]);
    const job = await claim(videoId);
    expect(job).toMatchObject({ timeMs: 6000n, attempt: 1 });
    expect(job.fence).toBeGreaterThan(late.fence);
    await complete(job);
    expect(await outcome(complete(late))).toBe("CLAIM_LOST");
    expect(await videoOf(videoId)).toMatchObject({ coverTimeMs: 6000, coverKey: `${folderOf(job)}cover-720.jpg` });
  });

  test("is given up for the one that is shown", async () => {
    const videoId = await newVideo();
    await choose(videoId, 5000n);
    const late = await claim(videoId);
    await choose(videoId, 3000n);
    expect(await outcome(complete(late))).toBe("CLAIM_LOST");
    expect((await origin.coverJobs.claimJob({ jobId: videoId })).job).toBeUndefined();
    expect(await status(videoId)).toMatchObject({ coverStatus: VideoStatus.READY, coverTimeMs: 3000n });
  });

  test("comes to one of them when several are chosen at once", async () => {
    const videoId = await newVideo();
    await Promise.all(Array.from({ length: 20 }, (_, at) => choose(videoId, BigInt(5000 + at))));
    const wish = await wishOf(videoId);
    const job = await claim(videoId);
    expect(job.timeMs).toBe(BigInt(wish?.timeMs ?? 0));
    await complete(job);
    expect((await videoOf(videoId))?.coverTimeMs).toBe(wish?.timeMs ?? 0);
  });

  test("that cannot be made leaves the one before, and says why", async () => {
    const videoId = await newVideo();
    const before = await videoOf(videoId);
    await choose(videoId, 5000n);
    await fail(await claim(videoId), true);
    expect(await videoOf(videoId)).toEqual(before);
    const told = { status: VideoStatus.READY, reason: "", coverStatus: VideoStatus.FAILED };
    expect(await status(videoId)).toMatchObject({ ...told, coverReason: "it cannot be cut" });
    await choose(videoId, 5000n);
    expect(await status(videoId)).toMatchObject({ coverStatus: VideoStatus.PROCESSING, coverReason: "" });
    await complete(await claim(videoId));
    expect((await videoOf(videoId))?.coverTimeMs).toBe(5000);
  });

  test("is tried again after a fault that may pass", async () => {
    const videoId = await newVideo();
    await choose(videoId, 5000n);
    expect((await fail(await claim(videoId), false)).retryInMs).toBe(5000n);
    expect((await origin.coverJobs.claimJob({ jobId: videoId })).job).toBeUndefined();
    await origin.db
      .update(videoCovers)
      .set({ jobDueAt: 1 })
      .where(eq(videoCovers.id, Number(videoId)));
    expect(await claim(videoId)).toMatchObject({ attempt: 2 });
  });

  test("goes with its video, whoever works on it", async () => {
    const videoId = await newVideo();
    await choose(videoId, 5000n);
    const late = await claim(videoId);
    await origin.as(author.token).video.deleteVideo({ videoId });
    expect(await wishOf(videoId)).toBeUndefined();
    const calls = [complete(late), origin.coverJobs.renewJob({ jobId: videoId, fence: late.fence })];
    expect(await Promise.all(calls.map(outcome))).toEqual(["CLAIM_LOST", "CLAIM_LOST"]);
    expect(await outcome(choose(videoId, 6000n))).toBe("VIDEO_NOT_FOUND");
    expect(await wishOf(videoId)).toBeUndefined();
  });

  test("and a deletion at once leave no job behind", async () => {
    for (let round = 0; round < 5; round++) {
      const videoId = await newVideo();
      await Promise.all([
        outcome(choose(videoId, 5000n)),
        origin.as(author.token).video.deleteVideo({ videoId }),
        outcome(choose(videoId, 6000n)),
      ]);
      expect(await wishOf(videoId)).toBeUndefined();
    }
  });
});

describe("pictures that nobody is shown any more", () => {
  const log = createLog({ program: "tests", write: () => {} });
  const tidy = (now: number) => removeOldCovers({ db: origin.db, objects: origin.objects, log, now: () => now });
  const store = (...keys: string[]) =>
    Promise.all(keys.map((key) => origin.objects.put(key, import.meta.path, { contentType: jpeg })));
  const left = async (videoId: bigint) => {
    const found = await origin.objects.list(`videos/${videoId}/`);
    return found.map(({ key }) => key.slice(`videos/${videoId}/`.length));
  };
  const pictures = (folder: string) => [`${folder}cover-720.jpg`, `${folder}preview.webp`];

  test("go half a minute after another has taken their place, and nothing else does", async () => {
    const videoId = await newVideo();
    const first = `videos/${videoId}/1/`;
    await store(`${first}720.mp4`, `${first}hls.m3u8`, `${first}cover-360.jpg`, `${first}preview.webp`);
    await choose(videoId, 5000n);
    const job = await claim(videoId);
    await store(...pictures(folderOf(job)));
    await complete(job);
    await tidy(Date.now() + 25_000);
    expect(await left(videoId)).toHaveLength(6);
    await tidy(Date.now() + 31_000);
    const kept = ["1/720.mp4", "1/hls.m3u8", `covers/${job.fence}/cover-720.jpg`, `covers/${job.fence}/preview.webp`];
    expect(await left(videoId)).toEqual(kept);
    expect((await wishOf(videoId))?.tidyAt).toBeNull();
  });

  test("also go when their attempt came to nothing, and never those of the one at work", async () => {
    const videoId = await newVideo();
    const first = `videos/${videoId}/1/`;
    await store(`${first}cover-360.jpg`, `${first}preview.webp`);
    await choose(videoId, 5000n);
    const lost = await claim(videoId);
    await store(...pictures(folderOf(lost)));
    await choose(videoId, 6000n);
    const job = await claim(videoId);
    await store(...pictures(folderOf(job)));
    const later = Date.now() + 60_000;
    await tidy(later);
    const shown = ["1/cover-360.jpg", "1/preview.webp"];
    expect(await left(videoId)).toEqual([...shown, ...pictures(`covers/${job.fence}/`)]);
    // Nobody knows yet what becomes of that one.
    expect((await wishOf(videoId))?.tidyAt).toBeGreaterThan(later);
    await fail(job, true);
    await tidy(later + 60_000);
    expect(await left(videoId)).toEqual(shown);
  });

  test("go when object storage is back", async () => {
    const videoId = await newVideo();
    await choose(videoId, 5000n);
    const job = await claim(videoId);
    await store(...pictures(`videos/${videoId}/covers/0/`));
    await complete(job);
    const now = Date.now() + 31_000;
    const objects = { ...origin.objects, delete: () => Promise.reject(new Error("object storage is away")) };
    await removeOldCovers({ db: origin.db, objects, log, now: () => now });
    expect(await left(videoId)).toHaveLength(2);
    await tidy(now + 6_000);
    expect(await left(videoId)).toEqual([]);
  });
});
