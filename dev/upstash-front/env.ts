import { readEnv, secret, url, whole } from "@flick/platform/env.ts";
import * as v from "valibot";

/** The settings of the Upstash-compatible front. @throws {EnvError} names every bad variable. */
export function readUpstashFrontEnv(env?: Record<string, string | undefined>) {
  return readEnv(
    {
      /** Where it listens. */
      HOST: v.optional(v.string(), "127.0.0.1"),
      UPSTASH_FRONT_PORT: v.optional(whole(0, 65_535), "8079"),
      /** What clients must send. */
      UPSTASH_REDIS_REST_TOKEN: secret(8),
      /** What it serves. */
      REDIS_URL: url("redis:", "rediss:"),
    },
    env,
  );
}
