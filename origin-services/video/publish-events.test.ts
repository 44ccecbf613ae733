import { afterAll, beforeAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { videos } from "@flick/db/schema/video.ts";
import { openEventStream, type EventStream } from "@flick/dev/event-stream.ts";
import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { databaseOf } from "@flick/platform/cdc/env.ts";
import { createBinlogTailer, type BinlogTailer } from "@flick/platform/cdc/tailer.ts";
import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { createRedisStreamsEventLog } from "@flick/platform/event-log/redis-streams.ts";
import { createLog } from "@flick/platform/log.ts";
import { publishEventsPath } from "@flick/proto/stream.ts";
import { eq } from "drizzle-orm";

import { insertVideo } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";
import { createPublishStreams } from "./publish-events.ts";

setDefaultTimeout(30_000);

let dir: string;
let redis: TestServer;
let origin: TestOrigin;
let events: EventLog;
let tailer: BinlogTailer;
let author: { userId: number; token: string };
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-publish-"));
  redis = await startRedis({ dir });
  const log = createLog({ program: "cdc", write: () => {} });
  origin = await startTestOrigin({ REDIS_URL: redis.url });
  events = createRedisStreamsEventLog({ url: redis.url, log });
  const database = databaseOf(origin.mysqlUrl);
  tailer = createBinlogTailer({ mysqlUrl: origin.mysqlUrl, database, eventLog: events, log, serverId: 30_094 });
  while (!tailer.status().reading) await Bun.sleep(20);
  // Changes from before the origin listens are not told at once.
  author = await origin.signUp();
  const stream = await listen();
  while (stream.events.length === 0) {
    await newVideo();
    await Bun.sleep(100);
  }
  await stream.close();
}, 60_000);
afterAll(async () => {
  await tailer.stop();
  await events.close();
  await origin.stop();
  await redis.stop();
  await rm(dir, { recursive: true, force: true });
});
beforeEach(async () => {
  author = await origin.signUp();
});

const listen = (query = "", token = author.token) =>
  openEventStream(`${origin.url}${publishEventsPath}${query}`, { authorization: `Bearer ${token}` });
const told = (stream: EventStream) =>
  stream.events.map(({ data }) => {
    const event = JSON.parse(data) as { video_id: number; status: string; percent: number; reason: string };
    return `${event.video_id} ${event.status} ${event.percent} ${event.reason}`.trim();
  });

async function until(holds: () => boolean, problem = () => "it did not come to pass"): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(problem());
    await Bun.sleep(20);
  }
}

const hears = (stream: EventStream, last: string) =>
  until(
    () => told(stream).at(-1) === last,
    () => `waited in vain for ${last}: ${told(stream).join(", ")}`,
  );

const newVideo = (changes: Partial<typeof videos.$inferInsert> = {}) =>
  insertVideo(origin.db, author.userId, { status: "uploaded", jobDueAt: 1, ...changes });

test("a stream tells every state of a video, from its upload to its deletion", async () => {
  const stream = await listen();
  const videoId = await newVideo();
  await hears(stream, `${videoId} uploaded 0`);
  const { job } = await origin.jobs.claimJob({ jobId: videoId });
  await hears(stream, `${videoId} processing 0`);
  const claim = { jobId: videoId, fence: job?.fence ?? 0n };
  await origin.jobs.renewJob({ ...claim, percent: 40 });
  await hears(stream, `${videoId} processing 40`);
  await origin.jobs.completeJob({ ...claim, playKey: "p", coverKey: "c", width: 1, height: 1, durationMs: 1n });
  await hears(stream, `${videoId} ready 100`);
  await origin.as(author.token).video.deleteVideo({ videoId });
  await hears(stream, `${videoId} deleted 100`);
  // The end of the row is nothing new.
  await origin.db.delete(videos).where(eq(videos.id, Number(videoId)));
  const next = await newVideo();
  await hears(stream, `${next} uploaded 0`);
  expect(told(stream).at(-2)).toBe(`${videoId} deleted 100`);
  expect(new Set(told(stream)).size).toBe(told(stream).length);
  await stream.close();
});

test("a stream tells what becomes of a cover that was chosen", async () => {
  const videoId = await newVideo({ status: "ready", progress: 100, durationMs: 9000 });
  const stream = await listen();
  const covers = () =>
    stream.events.map(({ data }) => {
      const event = JSON.parse(data) as { cover_status: string; cover_time_ms: number; cover_reason: string };
      return `${event.cover_status} ${event.cover_time_ms} ${event.cover_reason}`.trim();
    });
  const { video } = origin.as(author.token);
  await video.chooseCover({ videoId, timeMs: 4200n });
  const { job: first } = await origin.coverJobs.claimJob({ jobId: videoId });
  const ended = { jobId: videoId, reason: "gone", permanent: true };
  await origin.coverJobs.failJob({ ...ended, fence: first?.fence ?? 0n });
  await until(() => covers().at(-1) === "failed 4200 gone");
  await video.chooseCover({ videoId, timeMs: 5000n });
  const { job } = await origin.coverJobs.claimJob({ jobId: videoId });
  await origin.coverJobs.completeJob({ jobId: videoId, fence: job?.fence ?? 0n, coverKey: "c", previewKey: "p" });
  await until(() => covers().at(-1) === "ready 5000");
  await stream.close();
});

test("whoever comes back is told how things stand, and why a video failed", async () => {
  const [one, other] = [await newVideo(), await newVideo()];
  const { job } = await origin.jobs.claimJob({ jobId: one });
  await origin.jobs.failJob({ jobId: one, fence: job?.fence ?? 0n, reason: "no picture", permanent: true });
  const all = await listen();
  await hears(all, `${one} failed 0 no picture`);
  expect(told(all)).toEqual([`${other} uploaded 0`, `${one} failed 0 no picture`]);
  const single = await listen(`?video_id=${other}`);
  await hears(single, `${other} uploaded 0`);
  await origin.as(author.token).video.retryVideo({ videoId: one });
  await hears(all, `${one} uploaded 0`);
  await origin.jobs.claimJob({ jobId: other });
  await hears(single, `${other} processing 0`);
  expect(told(single)).toHaveLength(2);
  await Promise.all([all.close(), single.close()]);
});

test("nobody hears of the videos of others", async () => {
  const videoId = await newVideo();
  const stranger = await origin.signUp();
  const stream = await listen("", stranger.token);
  await origin.jobs.claimJob({ jobId: videoId });
  const mine = await listen();
  await hears(mine, `${videoId} processing 0`);
  expect(told(stream)).toEqual([]);
  await Promise.all([stream.close(), mine.close()]);
  await expect(listen(`?video_id=${videoId}`, stranger.token)).rejects.toThrow("404");
  await expect(listen("?video_id=x")).rejects.toThrow("400");
  await expect(openEventStream(`${origin.url}${publishEventsPath}`)).rejects.toThrow("401");
});

test("an old change that comes late does not turn a state back", async () => {
  const videoId = await newVideo();
  const stream = await listen();
  await hears(stream, `${videoId} uploaded 0`);
  const old = { id: Number(videoId), author_id: author.userId, status: "uploaded" };
  const source = { db: "flick", table: "videos", ts_ms: 1 };
  await origin.jobs.claimJob({ jobId: videoId });
  await hears(stream, `${videoId} processing 0`);
  const value = JSON.stringify({ before: null, after: old, op: "c", source, ts_ms: 1 });
  await events.publish([{ topic: "cdc.videos", key: String(videoId), value }]);
  const { job } = {
    job: (
      await origin.db
        .select()
        .from(videos)
        .where(eq(videos.id, Number(videoId)))
    )[0],
  };
  await origin.jobs.renewJob({ jobId: videoId, fence: BigInt(job?.jobFence ?? 0), percent: 9 });
  await hears(stream, `${videoId} processing 9`);
  expect(told(stream)).toEqual([`${videoId} uploaded 0`, `${videoId} processing 0`, `${videoId} processing 9`]);
  await stream.close();
});

test("without a change log the heartbeat finds what has changed", async () => {
  const log = createLog({ program: "test", write: () => {} });
  const deaf = { listen: () => () => {}, close: () => Promise.resolve() };
  const token = { userId: author.userId, jti: "any", generation: 0, expiresAt: Infinity };
  const identities = {
    viewer: () => Promise.resolve(token),
    hasEnded: () => false,
    service: () => Promise.resolve(null),
  };
  const context = { db: origin.db, log, now: Date.now };
  const streams = createPublishStreams(context, { identities, live: deaf, limits: { heartbeatMs: 50 } });
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: streams.handle });
  try {
    const videoId = await newVideo();
    const stream = await openEventStream(server.url, { authorization: "Bearer x" });
    await hears(stream, `${videoId} uploaded 0`);
    await origin.jobs.claimJob({ jobId: videoId });
    await hears(stream, `${videoId} processing 0`);
    const another = await newVideo();
    await hears(stream, `${another} uploaded 0`);
    await stream.close();
  } finally {
    streams.close();
    await server.stop(true);
  }
});
