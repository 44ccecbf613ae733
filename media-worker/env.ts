import { availableParallelism, tmpdir } from "node:os";

import { readEnv, secret, url, whole } from "@flick/platform/env.ts";
import { kafkaEnv } from "@flick/platform/event-log/open.ts";
import * as v from "valibot";

import { defaultMemoryMiB } from "./ffmpeg.ts";
import { defaultLimits } from "./limits.ts";

/** FFmpeg keeps about two cores busy. */
const defaultConcurrency = Math.max(1, Math.floor(availableParallelism() / 2));

const program = v.pipe(v.string(), v.regex(/^(\/.+|[^/]+)$/, "must be the name of a program or an absolute path"));

/** Settings of a media worker; the README describes each. @throws {EnvError} names every bad variable. */
export function readWorkerEnv(source?: Record<string, string | undefined>) {
  return readEnv(
    {
      LOG_LEVEL: v.optional(v.picklist(["debug", "info", "warn", "error"]), "info"),
      /** The services that keep the jobs: video, and user where that has no address of its own. */
      ORIGIN_URL: url("http:", "https:"),
      USER_SERVICE_URL: v.optional(url("http:", "https:")),
      REDIS_URL: url("redis:", "rediss:"),
      ...kafkaEnv,
      OSS_URL: url("http:", "https:"),
      OSS_PUBLIC_URL: v.optional(url("http:", "https:")),
      OSS_REGION: v.string(),
      OSS_BUCKET: v.string(),
      OSS_ACCESS_KEY_ID: v.string(),
      OSS_ACCESS_KEY_SECRET: secret(8),
      SERVICE_TOKEN_SECRET: secret(32),
      /** Of this machine alone. Takes an upload and its result per job at work. */
      WORK_DIR: v.optional(v.string(), tmpdir()),
      /** What all jobs at work may take of it together; a job takes three times its upload. */
      DISK_BUDGET_BYTES: v.optional(whole(1_048_576, 2 ** 50), String(8 * 2 ** 30)),
      /** Names or absolute paths. */
      FFMPEG_PATH: v.optional(program, "ffmpeg"),
      FFPROBE_PATH: v.optional(program, "ffprobe"),
      /** Jobs at work at once. */
      CONCURRENCY: v.optional(whole(1, 64), String(defaultConcurrency)),
      SWEEP_INTERVAL_MS: v.optional(whole(100, 600_000), "5000"),
      /** How long a stop waits for jobs at work. */
      DRAIN_MS: v.optional(whole(0, 600_000), "10000"),
      MAX_INPUT_BYTES: v.optional(whole(1024, 4_000_000_000), "1073741824"),
      MAX_IMAGE_BYTES: v.optional(whole(1024, 100_000_000), "10485760"),
      MAX_DURATION_S: v.optional(whole(1, 86_400), String(defaultLimits.maxDurationS)),
      MAX_PIXELS: v.optional(whole(256, 67_108_864), String(defaultLimits.maxPixels)),
      MAX_STREAMS: v.optional(whole(1, 1000), String(defaultLimits.maxStreams)),
      /** Of one file that FFmpeg writes. */
      MAX_OUTPUT_BYTES: v.optional(whole(100_000, 4_000_000_000), String(defaultLimits.maxOutputBytes)),
      /** A run of FFmpeg may take so long, and so much more for every second of the video. */
      MAX_RUN_S: v.optional(whole(1, 86_400), String(defaultLimits.maxRunS)),
      MAX_RUN_S_PER_SECOND: v.optional(whole(1, 1000), String(defaultLimits.maxRunSPerSecond)),
      /** Address space of one FFmpeg. */
      MAX_MEMORY_MIB: v.optional(whole(256, 1_048_576), String(defaultMemoryMiB)),
      /** Processes and threads of the worker's user, all together; 0 for no limit. */
      MAX_PROCESSES: v.optional(whole(0, 100_000), "0"),
      /** `auto` is bubblewrap where it works; `bubblewrap` refuses to start where it does not. */
      MEDIA_SANDBOX: v.optional(v.picklist(["auto", "bubblewrap", "none"]), "auto"),
      /** Of `GET /healthz`. */
      HOST: v.optional(v.string(), "127.0.0.1"),
      /** 0 serves no health check. */
      HEALTH_PORT: v.optional(whole(0, 65_535), "0"),
    },
    source,
  );
}
