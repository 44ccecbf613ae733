import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePorts } from "@flick/dev/ports.ts";
import { startRedis, testServers, type TestServer, type TestServers } from "@flick/dev/testing.ts";
import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { createRedisStreamsEventLog } from "@flick/platform/event-log/redis-streams.ts";
import { createLog } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { ImageKind } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { RedisClient } from "bun";

import { imagesTopic, mediaGroup, videosTopic } from "./consumer.ts";
import { makeClip, startJobService, testServiceSecret, until, type TestJobService, type TestVideo } from "./testing.ts";

/** Longer than a test: what happens within it did not need a sweep. */
const never = "600000";
/** A clip that is done in less than a second, and one that takes several. */
const clips = { short: "", slow: "" };

// Real transcodes, on a machine that does other things too.

let dir: string;
let servers: TestServers;
let redis: TestServer;
let store: ObjectStore;
let events: EventLog;
let service: TestJobService;
let workers: Worker[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-worker-"));
  servers = await testServers();
  redis = await startRedis({ dir: join(dir, "redis") });
  store = createObjectStore({ endpoint: servers.ossUrl, ...servers.oss });
  const log = createLog({ program: "test", level: "error" });
  events = createRedisStreamsEventLog({ url: redis.url, log });
  const x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
  await makeClip(dir, `-f lavfi -i testsrc2=size=160x120:rate=10:duration=1 ${x264} short.mp4`);
  await makeClip(dir, `-f lavfi -i testsrc2=size=720x1280:rate=30:duration=6 ${x264} slow.mp4`);
  await makeClip(dir, "-f lavfi -i testsrc2=size=160x120 -frames:v 1 picture.png");
  await writeFile(join(dir, "bad.mp4"), "no video\n");
  await writeFile(join(dir, "stuck"), '#!/bin/sh\n[ "$1" = -version ] || exec sleep 60\n', { mode: 0o755 });
  clips.short = await upload("short.mp4");
  clips.slow = await upload("slow.mp4");
}, 60_000);

afterAll(async () => {
  await events.close();
  await redis.stop();
  await rm(dir, { recursive: true });
});

beforeEach(async () => {
  const client = new RedisClient(redis.url);
  await client.send("FLUSHALL", []);
  client.close();
  service = startJobService({ leaseMs: 3_000 });
});

afterEach(async () => {
  for (const worker of workers) await worker.kill();
  workers = [];
  await service.stop();
});

describe("finding work", () => {
  test("an event makes a video ready, and the log tells the story without its id", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = service.add(clips.short);
    await publishChange(videoId);
    await until(() => status(videoId) === "ready", "the video");
    await worker.logged("job ready");
    const [taken, ready] = worker.lines.filter(({ message }) => String(message).startsWith("job "));
    expect(taken).toMatchObject({ message: "job taken", attempt: 1, video: expect.stringMatching(/^[0-9a-f]{12}$/) });
    expect(ready).toMatchObject({ message: "job ready", video: taken?.["video"], width: 160, height: 120 });
    for (const name of ["fetchMs", "transcodeMs", "storeMs", "totalMs"]) expect(ready?.[name]).toBeNumber();
    expect(JSON.stringify(worker.lines)).not.toContain(String(videoId));
    await until(async () => (await events.lag(videosTopic, mediaGroup)) === 0, "the acknowledgement");
  });

  test("the sweep finds a video whose event was lost", async () => {
    const videoId = service.add(clips.short);
    await startWorker({ SWEEP_INTERVAL_MS: "200" });
    await until(() => status(videoId) === "ready", "the video");
  });

  test("an event makes a picture for a profile ready, and the log tells neither its id nor its user's", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: never });
    const userId = 299_999_999_999_999n;
    const imageId = service.addImage(await upload("picture.png"), userId, ImageKind.AVATAR);
    const badId = service.addImage(await upload("bad.mp4"), userId, ImageKind.BACKGROUND);
    for (const id of [imageId, badId]) await publishChange(id, {}, imagesTopic);
    await until(() => service.images.get(imageId)?.status === "ready", "the picture");
    await until(() => service.images.get(badId)?.status === "failed", "the verdict");
    expect(service.images.get(imageId)?.completed).toMatchObject([
      { imageKey: `users/${userId}/${imageId}-avatar.jpg` },
    ]);
    await worker.logged("job ready");
    await worker.logged("job failed");
    const ready = worker.lines.find(({ message }) => message === "job ready");
    expect(ready).toMatchObject({ image: expect.stringMatching(/^[0-9a-f]{12}$/), shape: "avatar", width: 120 });
    for (const id of [imageId, badId, userId]) expect(JSON.stringify(worker.lines)).not.toContain(String(id));
  });

  test("the sweep finds a picture whose event was lost", async () => {
    const imageId = service.addImage(await upload("picture.png"), 7n, ImageKind.BACKGROUND);
    await startWorker({ SWEEP_INTERVAL_MS: "200" });
    await until(() => service.images.get(imageId)?.status === "ready", "the picture");
  });

  test("changes that make nothing due, and poison, are passed over", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = service.add(clips.short);
    video(videoId).dueAt = Date.now() + 600_000;
    await publishChange(videoId, { status: "processing" });
    await publishChange(videoId, { job_due_at: Date.now() + 60_000 });
    await publishChange(videoId, null);
    await events.publish([{ topic: videosTopic, key: "poison", value: "{" }]);
    const other = service.add(clips.short);
    await publishChange(other);
    await until(() => status(other) === "ready", "the other video");
    expect(service.claims).toEqual([other]);
    await worker.logged("event failed");
  });

  test("events and sweeps for one video do its work once", async () => {
    await startWorker({ SWEEP_INTERVAL_MS: "100", CONCURRENCY: "2" });
    const videoId = service.add(clips.slow);
    await publishChange(videoId);
    await publishChange(videoId);
    await until(() => status(videoId) === "ready", "the video");
    expect(video(videoId)).toMatchObject({ attempts: 1, failed: [] });
  });

  test("a job is taken in the order that its service gives, whichever event woke the worker", async () => {
    await startWorker({ SWEEP_INTERVAL_MS: never });
    const [first, second] = [service.add(clips.short), service.add(clips.short)];
    await publishChange(second);
    await until(() => status(first) === "ready", "the first");
    expect(status(second)).toBe("uploaded");
    await publishChange(first);
    await until(() => status(second) === "ready", "the second");
  });

  test("an upload that is not what was announced fails for good; what was measured is told", async () => {
    await startWorker({ SWEEP_INTERVAL_MS: never });
    const sha256 = new Bun.CryptoHasher("sha256").update(await Bun.file(join(dir, "short.mp4")).bytes()).digest("hex");
    const [right, wrong] = [service.add(clips.short), service.add(clips.short)];
    video(right).sha256 = sha256;
    video(wrong).sha256 = "0".repeat(64);
    for (const videoId of [right, wrong]) await publishChange(videoId);
    await until(() => status(right) === "ready" && status(wrong) === "failed", "both");
    expect(video(right).completed).toMatchObject([{ sha256 }]);
    expect(video(wrong).failed).toMatchObject([{ permanent: true, reason: expect.stringContaining("announced") }]);
  });

  test("a job that finds no room on the disk is tried again", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: "100", DISK_BUDGET_BYTES: "1048576" });
    const large = join(dir, "large.mp4");
    await Bun.write(large, new Uint8Array(500_000));
    const videoId = service.add(await upload("large.mp4"));
    await until(() => video(videoId).attempts > 1, "the second attempt");
    expect(video(videoId).failed[0]).toMatchObject({ permanent: false, interrupted: false });
    await worker.logged("job failed");
    expect(JSON.stringify(worker.lines)).toContain("DISK_BUDGET_BYTES is 1048576");
  });

  test("the lease is renewed as long as the work takes", async () => {
    await service.stop();
    service = startJobService({ leaseMs: 1_500 });
    const { videoId } = await startStuckJob({ SWEEP_INTERVAL_MS: "100", CONCURRENCY: "2" });
    await until(() => video(videoId).renewals >= 5, "five renewals");
    expect(video(videoId)).toMatchObject({ status: "processing", attempts: 1 });
  });

  test("two workers share six videos, and complete each of them once", async () => {
    const both = await Promise.all([
      startWorker({ SWEEP_INTERVAL_MS: "300" }),
      startWorker({ SWEEP_INTERVAL_MS: "300" }),
    ]);
    const videoIds = Array.from({ length: 6 }, () => service.add(clips.short));
    await Promise.all(videoIds.map((videoId) => publishChange(videoId)));
    await until(() => videoIds.every((videoId) => status(videoId) === "ready"), "six videos", 30_000);
    for (const videoId of videoIds) {
      expect(video(videoId)).toMatchObject({ attempts: 1, failed: [] });
      expect(video(videoId).completed).toHaveLength(1);
    }
    for (const worker of both) await worker.logged("job ready");
  });
});

describe("when things fail", () => {
  test("kill -9 in the middle leaves no FFmpeg, and a new worker finishes the video, once", async () => {
    const first = await startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = service.add(clips.slow);
    await publishChange(videoId);
    await until(() => ffmpegsIn(first.workDir).length > 0, "FFmpeg at work");
    await first.kill();
    await until(() => ffmpegsIn(first.workDir).length === 0, "the end of FFmpeg", 1_000);
    expect(video(videoId)).toMatchObject({ status: "processing", attempts: 1 });
    expect(readdirSync(first.workDir)).toHaveLength(1);

    const second = await startWorker({ SWEEP_INTERVAL_MS: "300", WORK_DIR: first.workDir });
    await until(() => status(videoId) === "ready", "the video");
    expect(video(videoId)).toMatchObject({ attempts: 2, failed: [] });
    expect(video(videoId).completed).toHaveLength(1);
    expect(await second.stop()).toBe(0);
    expect(readdirSync(first.workDir)).toEqual([]);
  });

  test("kill -9 also ends a program that reads and writes nothing", async () => {
    const { worker } = await startStuckJob();
    await worker.kill();
    await until(() => ffmpegsIn(worker.workDir).length === 0, "its end", 1_000);
  });

  test("a worker that loses its claim kills what it runs and changes nothing", async () => {
    const { worker, videoId } = await startStuckJob();
    service.steal(videoId);
    await worker.logged("job lost");
    expect(ffmpegsIn(worker.workDir)).toEqual([]);
    expect(video(videoId)).toMatchObject({ status: "processing", completed: [], failed: [] });
    expect(await store.head(`videos/${videoId}/play.mp4`)).toBeNull();
  });

  test("an event is delivered again while the video service is away", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = service.add(clips.short);
    await service.stop();
    await publishChange(videoId);
    await worker.logged("event failed");
    service.start();
    await until(() => status(videoId) === "ready", "the video");
  });

  test("the end of a job reaches a service that was away for a while", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = service.add(clips.short);
    await publishChange(videoId);
    await worker.logged("job taken");
    await service.stop();
    await Bun.sleep(1_500);
    service.start();
    await until(() => status(videoId) === "ready", "the video");
    expect(video(videoId).attempts).toBe(1);
  });

  test("a bad file fails for good, at the first attempt, with a reason", async () => {
    await startWorker({ SWEEP_INTERVAL_MS: "100" });
    const videoId = service.add(await upload("bad.mp4"));
    await until(() => status(videoId) === "failed", "the verdict");
    expect(video(videoId)).toMatchObject({ attempts: 1, failed: [{ permanent: true }] });
    expect(video(videoId).failed[0]?.reason).toStartWith("This file is not a video");
  });

  test("storage that is away only ends the attempt, and the next one comes", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: "100", OSS_URL: "http://localhost:1" });
    const videoId = service.add(clips.short);
    await until(() => video(videoId).attempts > 1, "the second attempt");
    expect(video(videoId).failed[0]).toMatchObject({ permanent: false });
    expect(video(videoId).failed[0]?.reason).not.toContain("localhost");
    expect(JSON.stringify(worker.lines)).not.toContain(String(videoId));
  });
});

describe("stopping", () => {
  test("waits for the job at work and ends with 0", async () => {
    const worker = await startWorker({ SWEEP_INTERVAL_MS: never, DRAIN_MS: "30000" });
    const videoId = service.add(clips.slow);
    await publishChange(videoId);
    await until(() => ffmpegsIn(worker.workDir).length > 0, "FFmpeg at work");
    expect(await worker.stop()).toBe(0);
    expect(video(videoId)).toMatchObject({ status: "ready", attempts: 1 });
    expect(readdirSync(worker.workDir)).toEqual([]);
  });

  test("gives a job back that takes longer than it may wait", async () => {
    const { worker, videoId } = await startStuckJob({ DRAIN_MS: "200" });
    const startedAt = performance.now();
    expect(await worker.stop()).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(ffmpegsIn(worker.workDir)).toEqual([]);
    expect(video(videoId)).toMatchObject({ status: "uploaded", failed: [{ permanent: false, interrupted: true }] });
    expect(readdirSync(worker.workDir)).toEqual([]);
  });

  test("does not take long when the video service is away", async () => {
    const { worker } = await startStuckJob({ DRAIN_MS: "200" });
    await service.stop();
    const startedAt = performance.now();
    expect(await worker.stop()).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

test("the health check answers while the worker takes jobs", async () => {
  const [port] = await freePorts(1);
  const worker = await startWorker({ HEALTH_PORT: String(port) });
  const ready = worker.lines.find(({ message }) => message === "taking jobs");
  const response = await fetch(new URL("/healthz", String(ready?.["health"])));
  expect([response.status, await response.text()]).toEqual([200, "ok, 0 jobs at work\n"]);
});

describe("a start that cannot work ends with 1 and says why", () => {
  test.each([
    [{ SERVICE_TOKEN_SECRET: "short" }, "SERVICE_TOKEN_SECRET: must have at least 32 characters"],
    [{ ORIGIN_URL: "" }, "ORIGIN_URL: is missing"],
    [{ FFMPEG_PATH: "no-such-ffmpeg" }, "no-such-ffmpeg cannot be used"],
    [{ FFPROBE_PATH: "./ffprobe" }, "FFPROBE_PATH: must be the name of a program or an absolute path"],
  ])("%o", async (env, complaint) => {
    const worker = launch(env);
    expect(await worker.exited).toBe(1);
    expect(await worker.stderr).toContain(complaint);
  });
});

type Line = Record<string, unknown>;

interface Worker {
  lines: Line[];
  workDir: string;
  stderr: Promise<string>;
  exited: Promise<number>;
  /** Resolves once a message is in its log. */
  logged(message: string): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number>;
  /** SIGKILL, and wait. */
  kill(): Promise<void>;
}

async function startWorker(env: Record<string, string>): Promise<Worker> {
  const sweeps = service.sweeps();
  const worker = launch(env);
  await worker.logged("taking jobs");
  // What is added from now on is not found by the sweep that every worker begins with.
  await until(() => service.sweeps() > sweeps, "the first sweep");
  return worker;
}

/** A worker whose ffprobe never answers, with a job. */
async function startStuckJob(env: Record<string, string> = {}) {
  const worker = await startWorker({ SWEEP_INTERVAL_MS: never, FFPROBE_PATH: join(dir, "stuck"), ...env });
  const videoId = service.add(clips.short);
  await publishChange(videoId);
  await until(() => ffmpegsIn(worker.workDir).length > 0, "ffprobe at work");
  return { worker, videoId };
}

function launch(env: Record<string, string>): Worker {
  const workDir = env["WORK_DIR"] ?? join(dir, crypto.randomUUID());
  const child = Bun.spawn([process.execPath, "--no-env-file", join(import.meta.dir, "main.ts")], {
    env: {
      PATH: process.env.PATH,
      ORIGIN_URL: service.url,
      REDIS_URL: redis.url,
      OSS_URL: servers.ossUrl,
      OSS_REGION: servers.oss.region,
      OSS_BUCKET: servers.oss.bucket,
      OSS_ACCESS_KEY_ID: servers.oss.accessKeyId,
      OSS_ACCESS_KEY_SECRET: servers.oss.accessKeySecret,
      SERVICE_TOKEN_SECRET: testServiceSecret,
      WORK_DIR: workDir,
      CONCURRENCY: "1",
      ...env,
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const lines: Line[] = [];
  const reading = readLines(child.stdout, (line) => lines.push(JSON.parse(line) as Line));
  const worker: Worker = {
    lines,
    workDir,
    stderr: child.stderr.text(),
    exited: child.exited,
    logged: (message) =>
      until(() => {
        if (child.exitCode !== null) throw new Error(`the worker ended with ${child.exitCode}`);
        return lines.some((line) => line["message"] === message);
      }, `the log line ${message}`),
    async stop() {
      child.kill("SIGTERM");
      const code = await child.exited;
      await reading;
      return code;
    },
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
  workers.push(worker);
  return worker;
}

async function readLines(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  }
}

async function upload(file: string): Promise<string> {
  const rawKey = `raw/${crypto.randomUUID()}`;
  await store.put(rawKey, join(dir, file), { contentType: "video/mp4" });
  return rawKey;
}

/** A change of a video, or of what another topic is about, as the change log tells it. @param after differs from a new upload that is due; null deletes it. */
async function publishChange(videoId: bigint, after: Line | null = {}, topic = videosTopic): Promise<void> {
  const row = { id: Number(videoId), status: "uploaded", job_due_at: Date.now() };
  const change = after ? { op: "c", before: null, after: { ...row, ...after } } : { op: "d", before: row, after: null };
  const value = JSON.stringify({
    ...change,
    source: { connector: "mysql", db: "flick", table: topic.slice("cdc.".length) },
    ts_ms: Date.now(),
  });
  await events.publish([{ topic, key: String(videoId), value }]);
}

function video(videoId: bigint): TestVideo {
  const found = service.videos.get(videoId);
  if (!found) throw new Error("there is no such video");
  return found;
}

const status = (videoId: bigint) => video(videoId).status;

/** Process ids of programs that work in a folder. */
function ffmpegsIn(folder: string): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => worksIn(pid, folder)).map(Number);
}

function worksIn(pid: string, folder: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
  } catch {
    // It has ended in the meantime, or is not ours.
    return false;
  }
}
