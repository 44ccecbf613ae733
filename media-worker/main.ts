import { createClient } from "@connectrpc/connect";
import { EnvError } from "@flick/platform/env.ts";
import { checkOurTopics, openEventLog } from "@flick/platform/event-log/open.ts";
import { followConfig } from "@flick/platform/live-config/follow-redis.ts";
import { logLevelOf } from "@flick/platform/live-config/log-settings.ts";
import { createLog, type Log, type LogLevel } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { ImageJobService } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { CoverJobService } from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import { MediaJobService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { workerConfig } from "./config.ts";
import { coversTopic, imagesTopic, startConsumer, videosTopic } from "./consumer.ts";
import { createDiskBudget } from "./disk-budget.ts";
import { readWorkerEnv } from "./env.ts";
import { createFfmpeg, diesWithWorker } from "./ffmpeg.ts";
import { serveHealth } from "./health.ts";
import { createJobKind } from "./job.ts";
import { createCoverProcessor } from "./process-cover.ts";
import { createImageProcessor } from "./process-image.ts";
import { createVideoProcessor } from "./process-video.ts";
import { createWorkDir } from "./work-dir.ts";

/** Short against the lease, so that a renewal that hangs leaves time for others. */
const callTimeoutMs = 5_000;
/** Disk that a job may take: the upload, and what is made of it. */
const diskPerUploadByte = 3;
const diskOverhead = 64 * 1024;

try {
  const env = readWorkerEnv();
  await start(env);
} catch (error) {
  process.stderr.write(`${error instanceof EnvError ? error.message : `cannot start: ${String(error)}`}\n`);
  process.exit(1);
}

async function start(env: ReturnType<typeof readWorkerEnv>): Promise<void> {
  let logLevel = (): LogLevel => env.LOG_LEVEL;
  const log: Log = createLog({ program: "media-worker", level: () => logLevel() });
  const serviceToken = createServiceTokenSigner("media-worker", env.SERVICE_TOKEN_SECRET);
  const transport = (baseUrl: string) => createServiceTransport({ baseUrl, serviceToken, timeoutMs: callTimeoutMs });
  const store = createObjectStore({
    endpoint: env.OSS_URL,
    ...(env.OSS_PUBLIC_URL ? { publicUrl: env.OSS_PUBLIC_URL } : {}),
    region: env.OSS_REGION,
    bucket: env.OSS_BUCKET,
    accessKeyId: env.OSS_ACCESS_KEY_ID,
    accessKeySecret: env.OSS_ACCESS_KEY_SECRET,
  });
  const ffmpeg = createFfmpeg({
    ffmpegPath: env.FFMPEG_PATH,
    ffprobePath: env.FFPROBE_PATH,
    maxMemoryMiB: env.MAX_MEMORY_MIB,
    maxProcesses: env.MAX_PROCESSES,
    sandbox: env.MEDIA_SANDBOX,
  });
  await ffmpeg.check();
  const { sandbox, why } = ffmpeg.fence;
  if (why) log.warn("FFmpeg runs without a sandbox: bubblewrap cannot be used", { why });
  if (!diesWithWorker(sandbox)) log.warn("setpriv is missing: FFmpeg may outlive this process if it is killed");
  const workDir = await createWorkDir(env.WORK_DIR);
  const limits = {
    maxInputBytes: env.MAX_INPUT_BYTES,
    maxDurationS: env.MAX_DURATION_S,
    maxPixels: env.MAX_PIXELS,
    maxStreams: env.MAX_STREAMS,
    maxOutputBytes: env.MAX_OUTPUT_BYTES,
    maxRunS: env.MAX_RUN_S,
    maxRunSPerSecond: env.MAX_RUN_S_PER_SECOND,
  };
  const events = openEventLog(env, log);
  await checkOurTopics(events, log);
  const tools = { store, ffmpeg, workDir };
  const disk = createDiskBudget({ dir: env.WORK_DIR, maxBytes: env.DISK_BUDGET_BYTES });
  const reserve = async ({ rawKey }: { rawKey: string }, signal: AbortSignal) => {
    const upload = await store.head(rawKey);
    return disk.reserve(diskOverhead + (upload?.size ?? 0) * diskPerUploadByte, signal);
  };
  const videos = createJobKind({
    name: "video",
    topic: videosTopic,
    jobs: createClient(MediaJobService, transport(env.ORIGIN_URL)),
    reserve,
    process: createVideoProcessor({ ...tools, limits }),
    ourFault: "This video could not be processed. Please upload it again.",
    otherIds: () => [],
    log,
  });
  const covers = createJobKind({
    name: "cover",
    topic: coversTopic,
    jobs: createClient(CoverJobService, transport(env.ORIGIN_URL)),
    reserve,
    process: createCoverProcessor({ ...tools, limits }),
    ourFault: "This cover could not be made. Please choose a moment again.",
    otherIds: () => [],
    log,
  });
  const images = createJobKind({
    name: "image",
    topic: imagesTopic,
    jobs: createClient(ImageJobService, transport(env.USER_SERVICE_URL ?? env.ORIGIN_URL)),
    reserve,
    process: createImageProcessor({ ...tools, limits: { ...limits, maxInputBytes: env.MAX_IMAGE_BYTES } }),
    ourFault: "This picture could not be processed. Please upload it again.",
    otherIds: ({ userId }) => [userId],
    log,
  });
  const config = await followConfig({ program: "media-worker", schema: workerConfig, url: env.REDIS_URL, log });
  logLevel = () => logLevelOf(config.current().log, env.LOG_LEVEL);
  const consumer = await startConsumer({
    kinds: [videos, covers, images],
    events,
    concurrency: env.CONCURRENCY,
    allowed: () => (config.current().jobs.paused ? 0 : config.current().jobs.concurrency),
    sweepIntervalMs: env.SWEEP_INTERVAL_MS,
    log,
  });
  config.watch(consumer.admit);

  let stopping = false;
  const health =
    env.HEALTH_PORT === 0
      ? null
      : serveHealth({
          hostname: env.HOST,
          port: env.HEALTH_PORT,
          running: () => consumer.running(),
          stopping: () => stopping,
        });
  log.info("taking jobs", { concurrency: env.CONCURRENCY, sandbox, ...(health ? { health: health.url } : {}) });

  const stop = async (signal: string) => {
    if (stopping) return;
    stopping = true;
    log.info("stopping", { signal, running: consumer.running() });
    await consumer.stop(env.DRAIN_MS);
    await events.close();
    config.close();
    await workDir.close();
    await health?.stop();
    log.info("stopped");
    process.exit(0);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void stop(signal));
}
