import { availableParallelism, tmpdir } from "node:os";

import { readEnv, secret, url, whole } from "@flick/platform/env.ts";
import * as v from "valibot";

/** FFmpeg keeps about two cores busy. */
const defaultConcurrency = Math.max(1, Math.floor(availableParallelism() / 2));

const program = v.pipe(v.string(), v.regex(/^(\/.+|[^/]+)$/, "must be the name of a program or an absolute path"));

/** Settings of a media worker; the README describes each. @throws {EnvError} names every bad variable. */
export function readWorkerEnv(source?: Record<string, string | undefined>) {
  return readEnv(
    {
      LOG_LEVEL: v.optional(v.picklist(["debug", "info", "warn", "error"]), "info"),
      /** The services that keep the jobs: video and user. */
      ORIGIN_URL: url("http:", "https:"),
      REDIS_URL: url("redis:", "rediss:"),
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
      MAX_DURATION_S: v.optional(whole(1, 86_400), "600"),
      MAX_PIXELS: v.optional(whole(256, 67_108_864), String(4096 * 4096)),
      /** Of `GET /healthz`. */
      HOST: v.optional(v.string(), "127.0.0.1"),
      /** 0 serves no health check. */
      HEALTH_PORT: v.optional(whole(0, 65_535), "0"),
    },
    source,
  );
}
