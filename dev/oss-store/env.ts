import { readEnv, secret, whole } from "@flick/platform/env.ts";
import * as v from "valibot";

/**
 * The settings of the local object store.
 *
 * @throws {EnvError} names every bad variable.
 */
export function readOssStoreEnv(env?: Record<string, string | undefined>) {
  return readEnv(
    {
      /** Where it listens. */
      HOST: v.optional(v.string(), "127.0.0.1"),
      OSS_STORE_PORT: v.optional(whole(0, 65_535), "8091"),
      /** A folder for objects and their index; made when it is missing. */
      OSS_STORE_DIR: v.string(),
      OSS_BUCKET: named(
        /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/,
        "must have 3 to 63 of a-z, 0-9 and -, with no - at its ends",
      ),
      OSS_REGION: named(/^[a-z0-9-]+$/, "must be a region such as oss-cn-hangzhou"),
      OSS_ACCESS_KEY_ID: named(/^[\w.-]+$/, "must have letters, digits and . _ - only"),
      OSS_ACCESS_KEY_SECRET: secret(8),
    },
    env,
  );
}

function named(pattern: RegExp, message: string) {
  return v.pipe(v.string(), v.regex(pattern, message));
}
