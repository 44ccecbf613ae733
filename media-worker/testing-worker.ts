import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

import { startRedis, testServers } from "@flick/dev/testing.ts";
import { createRedisStreamsEventLog } from "@flick/platform/event-log/redis-streams.ts";
import { createLog } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import { RedisClient } from "bun";

import { videosTopic } from "./consumer.ts";
import { makeClip, startJobService, testServiceSecret, until, type TestVideo } from "./testing.ts";

/** Longer than a test: what happens within it did not need a sweep. */
export const never = "600000";

const programs = new Set(["ffmpeg", "ffprobe", "sleep"]);

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

export type Workers = Awaited<ReturnType<typeof startWorkers>>;

/** Real workers as processes of their own, with real storage and event log and the protocol of the services. */
export async function startWorkers() {
  const dir = await mkdtemp(join(tmpdir(), "flick-worker-"));
  const servers = await testServers();
  const redis = await startRedis({ dir: join(dir, "redis") });
  const store = createObjectStore({ endpoint: servers.ossUrl, ...servers.oss });
  const log = createLog({ program: "test", level: "error" });
  const events = createRedisStreamsEventLog({ url: redis.url, log });
  const x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
  await makeClip(dir, `-f lavfi -i testsrc2=size=160x120:rate=10:duration=1 ${x264} short.mp4`);
  await makeClip(dir, `-f lavfi -i testsrc2=size=720x1280:rate=30:duration=6 ${x264} slow.mp4`);
  await makeClip(dir, "-f lavfi -i testsrc2=size=160x120 -frames:v 1 picture.png");
  await writeFile(join(dir, "bad.mp4"), "no video\n");
  await writeFile(join(dir, "stuck"), '#!/bin/sh\n[ "$1" = -version ] || exec sleep 60\n', { mode: 0o755 });
  let service = startJobService({ leaseMs: 3_000 });
  let started: Worker[] = [];

  async function startWorker(env: Record<string, string>): Promise<Worker> {
    const sweeps = service.sweeps();
    const worker = launch(env);
    await worker.logged("taking jobs");
    // What is added from now on is not found by the sweep that every worker begins with.
    await until(() => service.sweeps() > sweeps, "the first sweep");
    return worker;
  }

  function launch(env: Record<string, string>): Worker {
    const workDir = env["WORK_DIR"] ?? join(dir, crypto.randomUUID());
    const child = Bun.spawn([process.execPath, "--no-env-file", join(import.meta.dir, "main.ts")], {
      env: {
        // The path is all that FFmpeg gets of this: by its end it can be recognised.
        PATH: `${process.env.PATH}:${workDir}`,
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
    started.push(worker);
    return worker;
  }

  async function upload(file: string): Promise<string> {
    const rawKey = `raw/${crypto.randomUUID()}`;
    await store.put(rawKey, join(dir, file), { contentType: "video/mp4" });
    return rawKey;
  }

  /** A change of a video, or of what another topic is about, as the change log tells it. @param after differs from a new upload that is due; null deletes it. */
  async function publishChange(videoId: bigint, after: Line | null = {}, topic = videosTopic): Promise<void> {
    const row = { id: Number(videoId), status: "uploaded", job_due_at: Date.now() };
    const change = after
      ? { op: "c", before: null, after: { ...row, ...after } }
      : { op: "d", before: row, after: null };
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

  return {
    dir,
    store,
    events,
    /** A clip that is done in less than a second, and one that takes several: their keys. */
    clips: { short: await upload("short.mp4"), slow: await upload("slow.mp4") },
    startWorker,
    launch,
    upload,
    publishChange,
    video,
    status: (videoId: bigint) => video(videoId).status,

    get service() {
      return service;
    },

    /** A worker whose ffprobe never answers, with a job. */
    async startStuckJob(env: Record<string, string> = {}) {
      const worker = await startWorker({ SWEEP_INTERVAL_MS: never, FFPROBE_PATH: join(dir, "stuck"), ...env });
      const videoId = service.add(await upload("short.mp4"));
      await publishChange(videoId);
      await until(() => ffmpegsOf(worker.workDir).length > 0, "ffprobe at work");
      return { worker, videoId };
    },

    /** Before each test: an empty event log and a new service. */
    async renew(options = { leaseMs: 3_000 }) {
      const client = new RedisClient(redis.url);
      await client.send("FLUSHALL", []);
      client.close();
      await service.stop();
      service = startJobService(options);
    },

    /** After each test. */
    async killAll() {
      for (const worker of started) await worker.kill();
      started = [];
    },

    async stop() {
      await service.stop();
      await events.close();
      await redis.stop();
      await rm(dir, { recursive: true });
    },
  };
}

/** Process ids of FFmpeg's programs, and of what the tests take for them, that the worker with this folder runs. */
export function ffmpegsOf(workDir: string): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => isFfmpegOf(pid, workDir)).map(Number);
}

function isFfmpegOf(pid: string, workDir: string): boolean {
  try {
    const [program = ""] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return programs.has(basename(program)) && readFileSync(`/proc/${pid}/environ`, "utf8").includes(`:${workDir}\0`);
  } catch {
    // It has ended in the meantime, or is not ours.
    return false;
  }
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
