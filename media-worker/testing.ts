import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { createConnectRouter } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { createServiceTokenVerifier } from "@flick/platform/service-token.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import {
  ImageJobService,
  type CompleteJobRequest as CompleteImageRequest,
  type ImageKind,
} from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import {
  CoverJobService,
  type CompleteCoverJobRequest as CompleteCoverRequest,
} from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import {
  MediaJobService,
  type CompleteJobRequest,
  type FailJobRequest,
} from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { serviceTokenHeader } from "@flick/proto/service-token.ts";

export const testServiceSecret = "a secret that only these tests know of";

/** A job as the service of the tests remembers it. */
interface TestJob<Completed> {
  rawKey: string;
  /** What the client of the upload has announced. */
  sha256: string;
  status: "uploaded" | "processing" | "ready" | "failed";
  fence: bigint;
  attempts: number;
  dueAt: number;
  /** Every call that ended an attempt and was accepted. */
  completed: Completed[];
  failed: Pick<FailJobRequest, "reason" | "permanent" | "interrupted">[];
  renewals: number;
  /** What renewals told of the progress. */
  percents: number[];
}

export type TestVideo = TestJob<CompleteJobRequest>;

interface TestImage extends TestJob<CompleteImageRequest> {
  userId: bigint;
  kind: ImageKind;
}

interface TestCover extends TestJob<CompleteCoverRequest> {
  timeMs: bigint;
}

export interface TestJobService {
  url: string;
  videos: Map<bigint, TestVideo>;
  covers: Map<bigint, TestCover>;
  images: Map<bigint, TestImage>;
  /** A new video that is due; returns its id. */
  add(rawKey: string): bigint;
  addCover(rawKey: string, timeMs: bigint): bigint;
  addImage(rawKey: string, userId: bigint, kind: ImageKind): bigint;
  /** Jobs that ClaimJob was called for, whatever came of it. */
  claims: bigint[];
  /** Calls of ListDueJobs for videos so far. */
  sweeps(): number;
  /** What happens when another worker takes a job over. */
  steal(videoId: bigint): void;
  /** Closes the port and every connection. */
  stop(): Promise<void>;
  /** Serves again under the same address after a stop. */
  start(): void;
}

let lastId = 300_000_000_000_000 + Math.floor(Math.random() * 1e12);

/**
 * The protocol of `MediaJobService`, `CoverJobService` and `ImageJobService` over maps, for tests of how the worker keeps to it; the services
 * themselves are tested with their database.
 */
export function startJobService(options: { leaseMs: number; retryMs?: number }): TestJobService {
  const { leaseMs, retryMs = 100 } = options;
  const claims: bigint[] = [];
  let sweeps = 0;
  const videos = new Map<bigint, TestVideo>();
  const covers = new Map<bigint, TestCover>();
  const images = new Map<bigint, TestImage>();
  const verify = createServiceTokenVerifier(testServiceSecret);
  const isDue = (job: TestJob<unknown>) =>
    (job.status === "uploaded" || job.status === "processing") && job.dueAt <= Date.now();

  function serviceOf<Completed extends Claimed, Job extends TestJob<Completed>>(kept: Map<bigint, Job>) {
    function held({ jobId, fence }: Claimed): Job {
      const job = kept.get(jobId);
      if (job?.status === "processing" && job.fence === fence) return job;
      throw flickError(Reason.CLAIM_LOST, "the claim is lost");
    }
    return {
      claim(jobId: bigint) {
        claims.push(jobId);
        const job = kept.get(jobId);
        if (!job || !isDue(job)) return null;
        job.status = "processing";
        job.dueAt = Date.now() + leaseMs;
        const fence = ++job.fence;
        const attempt = ++job.attempts;
        const { rawKey, sha256 } = job;
        return { job, told: { jobId, fence, rawKey, sha256, attempt, leaseMs: BigInt(leaseMs) } };
      },
      renewJob(claim: Claimed & { percent?: number }) {
        const job = held(claim);
        job.renewals++;
        if (claim.percent) job.percents.push(claim.percent);
        job.dueAt = Date.now() + leaseMs;
        return { leaseMs: BigInt(leaseMs) };
      },
      completeJob(request: Completed) {
        const job = held(request);
        job.status = "ready";
        job.completed.push(request);
        return {};
      },
      failJob(request: Claimed & Pick<FailJobRequest, "reason" | "permanent" | "interrupted">) {
        const job = held(request);
        job.failed.push(request);
        job.status = request.permanent ? "failed" : "uploaded";
        job.dueAt = Date.now() + retryMs;
        return { retryInMs: request.permanent ? 0n : BigInt(retryMs) };
      },
      listDueJobs({ limit }: { limit: number }) {
        const due = [...kept].filter(([, job]) => isDue(job)).map(([id]) => id);
        return { jobIds: due.slice(0, limit) };
      },
    };
  }

  const router = createConnectRouter({ grpc: false, connect: false, grpcWeb: true });
  const videoJobs = serviceOf<CompleteJobRequest, TestVideo>(videos);
  router.service(MediaJobService, {
    ...videoJobs,
    claimJob({ jobId }) {
      const claimed = videoJobs.claim(jobId);
      return claimed ? { job: claimed.told } : {};
    },
    listDueJobs(request) {
      sweeps++;
      return videoJobs.listDueJobs(request);
    },
  });
  const coverJobs = serviceOf<CompleteCoverRequest, TestCover>(covers);
  router.service(CoverJobService, {
    ...coverJobs,
    claimJob({ jobId }) {
      const claimed = coverJobs.claim(jobId);
      return claimed ? { job: { ...claimed.told, timeMs: claimed.job.timeMs } } : {};
    },
  });
  const imageJobs = serviceOf<CompleteImageRequest, TestImage>(images);
  router.service(ImageJobService, {
    ...imageJobs,
    claimJob({ jobId }) {
      const claimed = imageJobs.claim(jobId);
      return claimed ? { job: { ...claimed.told, userId: claimed.job.userId, kind: claimed.job.kind } } : {};
    },
  });
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, createFetchHandler(handler)]));
  const serve = (port: number) =>
    Bun.serve({
      hostname: "127.0.0.1",
      port,
      async fetch(request) {
        const program = await verify(request.headers.get(serviceTokenHeader) ?? "");
        if (program !== "media-worker") return new Response("no service token", { status: 401 });
        const handler = handlers.get(new URL(request.url).pathname);
        return handler ? handler(request) : new Response("no such path", { status: 404 });
      },
    });
  let server = serve(0);
  const { port } = server;

  return {
    url: server.url.href.replace(/\/$/, ""),
    videos,
    covers,
    images,
    claims,
    sweeps: () => sweeps,
    stop: () => server.stop(true),
    start() {
      server = serve(port ?? 0);
    },
    add(rawKey) {
      videos.set(BigInt(++lastId), newJob(rawKey));
      return BigInt(lastId);
    },
    addCover(rawKey, timeMs) {
      covers.set(BigInt(++lastId), { ...newJob<CompleteCoverRequest>(rawKey), timeMs });
      return BigInt(lastId);
    },
    addImage(rawKey, userId, kind) {
      images.set(BigInt(++lastId), { ...newJob<CompleteImageRequest>(rawKey), userId, kind });
      return BigInt(lastId);
    },
    steal(videoId) {
      const video = videos.get(videoId);
      if (!video) throw new Error("there is no such video");
      video.fence++;
      video.dueAt = Date.now() + 60_000;
    },
  };
}

interface Claimed {
  jobId: bigint;
  fence: bigint;
}

function newJob<Completed>(rawKey: string): TestJob<Completed> {
  const counts = { fence: 0n, attempts: 0, renewals: 0 };
  return { rawKey, sha256: "", status: "uploaded", dueAt: 0, completed: [], failed: [], percents: [], ...counts };
}

/** Makes a clip with FFmpeg's own sources. @param args all but the program's name; the last one is the file. */
export async function makeClip(dir: string, args: string): Promise<void> {
  await ffmpeg(dir, ["-nostdin", "-v", "error", "-y", ...args.split(" ")]);
}

/** A program of a few lines of shell; returns its path. */
export async function makeScript(dir: string, body: string): Promise<string> {
  const path = join(dir, `script-${crypto.randomUUID()}`);
  await writeFile(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

/** Mean luminance of a picture, from 16 (black) to 235 (white). */
export async function luminance(dir: string, picture: string): Promise<number> {
  const filter = "scale=out_range=tv,format=yuv420p,signalstats,metadata=mode=print:key=lavfi.signalstats.YAVG:file=-";
  const stats = await ffmpeg(dir, ["-nostdin", "-v", "error", "-i", picture, "-vf", filter, "-f", "null", "-"]);
  return Number(/YAVG=([\d.]+)/.exec(stats)?.[1]);
}

/** Colours of a picture at a few places. */
export async function pixels(dir: string, picture: string, places: [x: number, y: number][]): Promise<string[]> {
  return Promise.all(
    places.map(async ([x, y]) => {
      const one = `${picture}-${x}-${y}.bin`;
      const filter = `format=rgb24,crop=1:1:${x}:${y}`;
      await ffmpeg(dir, ["-nostdin", "-v", "error", "-y", "-i", picture, "-vf", filter, "-f", "rawvideo", one]);
      const rgb = [...(await Bun.file(join(dir, one)).bytes())].map((value) =>
        value > 200 ? 1 : value < 60 ? 0 : "?",
      );
      return { "1,0,0": "red", "0,0,1": "blue", "1,1,1": "white", "0,0,0": "black" }[rgb.join()] ?? rgb.join();
    }),
  );
}

async function ffmpeg(dir: string, args: string[]): Promise<string> {
  const child = Bun.spawn(["ffmpeg", ...args], {
    cwd: dir,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: 60_000,
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (child.exitCode !== 0) throw new Error(`ffmpeg ${args.join(" ")} failed: ${stderr}`);
  return stdout;
}

/** Everything that ffprobe says of a file, its packets included. */
export async function inspect(dir: string, file: string): Promise<Inspection> {
  const show = ["-show_format", "-show_streams", "-show_packets", "-show_chapters"];
  const child = Bun.spawn(["ffprobe", "-v", "error", ...show, "-of", "json", file], {
    cwd: dir,
    stderr: "pipe",
    timeout: 30_000,
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (child.exitCode !== 0) throw new Error(`ffprobe failed: ${stderr}`);
  return JSON.parse(stdout) as Inspection;
}

export interface Inspection {
  format: { duration: string; tags?: Record<string, string> };
  streams: Record<string, unknown>[];
  chapters: unknown[];
  packets: { codec_type: string; pts_time: string; flags: string }[];
}

export async function until(holds: () => boolean | Promise<boolean>, what: string, withinMs = 50_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await Bun.sleep(20);
  }
}
