import { readEnv, secret, url, whole } from "@flick/platform/env.ts";
import * as v from "valibot";

/**
 * The settings of the Upstash-compatible front.
 *
 * @throws {EnvError} names every bad variable.
 */
export function readUpstashFrontEnv(env?: Record<string, string | undefined>) {
  return readEnv(
    {
      /** Where it listens. */
      HOST: v.optional(v.string(), "127.0.0.1"),
      UPSTASH_FRONT_PORT: v.optional(whole(0, 65_535), "8092"),
      /** What callers show as their bearer token. */
      UPSTASH_REDIS_REST_TOKEN: secret(8),
      REDIS_URL: url("redis:", "rediss:"),
    },
    env,
  );
}
