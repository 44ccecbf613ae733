import { createConnectRouter } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { createServiceTokenVerifier } from "@flick/platform/service-token.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import {
  MediaJobService,
  type CompleteJobRequest,
  type FailJobRequest,
} from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { serviceTokenHeader } from "@flick/proto/upload.ts";

export const testServiceSecret = "a secret that only these tests know of";

/** A video as the job service of the tests remembers it. */
export interface TestVideo {
  rawKey: string;
  status: "uploaded" | "processing" | "ready" | "failed";
  fence: bigint;
  attempts: number;
  dueAt: number;
  /** Every call that ended an attempt and was accepted. */
  completed: CompleteJobRequest[];
  failed: FailJobRequest[];
  renewals: number;
}

export interface TestJobService {
  url: string;
  videos: Map<bigint, TestVideo>;
  /** A new video that is due; returns its id. */
  add(rawKey: string): bigint;
  /** Videos that ClaimJob was called for, whatever came of it. */
  claims: bigint[];
  /** Calls of ListDueJobs so far. */
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
 * The protocol of `MediaJobService` over a map, for tests of how the worker keeps to it; the service itself is tested with its
 * database.
 */
export function startJobService(options: { leaseMs: number; retryMs?: number }): TestJobService {
  const { leaseMs, retryMs = 100 } = options;
  const claims: bigint[] = [];
  let sweeps = 0;
  const videos = new Map<bigint, TestVideo>();
  const verify = createServiceTokenVerifier(testServiceSecret);
  const isDue = (video: TestVideo) =>
    (video.status === "uploaded" || video.status === "processing") && video.dueAt <= Date.now();

  function held({ videoId, fence }: { videoId: bigint; fence: bigint }): TestVideo {
    const video = videos.get(videoId);
    if (video?.status === "processing" && video.fence === fence) return video;
    throw flickError(Reason.CLAIM_LOST, "the claim is lost");
  }

  const router = createConnectRouter({ grpc: false, connect: false, grpcWeb: true });
  router.service(MediaJobService, {
    claimJob({ videoId }) {
      claims.push(videoId);
      const video = videos.get(videoId);
      if (!video || !isDue(video)) return {};
      video.status = "processing";
      video.dueAt = Date.now() + leaseMs;
      const fence = ++video.fence;
      const attempt = ++video.attempts;
      return { job: { videoId, fence, rawKey: video.rawKey, attempt, leaseMs: BigInt(leaseMs) } };
    },
    renewJob(claim) {
      const video = held(claim);
      video.renewals++;
      video.dueAt = Date.now() + leaseMs;
      return { leaseMs: BigInt(leaseMs) };
    },
    completeJob(request) {
      const video = held(request);
      video.status = "ready";
      video.completed.push(request);
      return {};
    },
    failJob(request) {
      const video = held(request);
      video.failed.push(request);
      video.status = request.permanent ? "failed" : "uploaded";
      video.dueAt = Date.now() + retryMs;
      return { retryInMs: request.permanent ? 0n : BigInt(retryMs) };
    },
    listDueJobs({ limit }) {
      sweeps++;
      const due = [...videos].filter(([, video]) => isDue(video)).map(([id]) => id);
      return { videoIds: due.slice(0, limit) };
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
    claims,
    sweeps: () => sweeps,
    stop: () => server.stop(true),
    start() {
      server = serve(port ?? 0);
    },
    add(rawKey) {
      const videoId = BigInt(++lastId);
      const counts = { fence: 0n, attempts: 0, renewals: 0 };
      videos.set(videoId, { rawKey, status: "uploaded", dueAt: 0, completed: [], failed: [], ...counts });
      return videoId;
    },
    steal(videoId) {
      const video = videos.get(videoId);
      if (!video) throw new Error("there is no such video");
      video.fence++;
      video.dueAt = Date.now() + 60_000;
    },
  };
}

/** Makes a clip with FFmpeg's own sources. @param args all but the program's name; the last one is the file. */
export async function makeClip(dir: string, args: string): Promise<void> {
  await ffmpeg(dir, ["-nostdin", "-v", "error", "-y", ...args.split(" ")]);
}

/** Mean luminance of a picture, from 16 (black) to 235 (white). */
export async function luminance(dir: string, picture: string): Promise<number> {
  const filter = "scale=out_range=tv,format=yuv420p,signalstats,metadata=mode=print:key=lavfi.signalstats.YAVG:file=-";
  const stats = await ffmpeg(dir, ["-nostdin", "-v", "error", "-i", picture, "-vf", filter, "-f", "null", "-"]);
  return Number(/YAVG=([\d.]+)/.exec(stats)?.[1]);
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

export async function until(holds: () => boolean | Promise<boolean>, what: string, withinMs = 20_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await Bun.sleep(20);
  }
}
