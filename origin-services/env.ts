import { availableParallelism } from "node:os";

import { readEnv, secret, url, whole } from "@flick/platform/env.ts";
import { kafkaEnv } from "@flick/platform/event-log/open.ts";
import * as v from "valibot";

import { serviceNames, type ServiceName } from "./clients.ts";

const services = v.pipe(
  v.string(),
  v.transform((text) => [...new Set(text.split(",").map((name) => name.trim()))]),
  v.check(
    (names) => names.every((name) => (serviceNames as readonly string[]).includes(name)),
    `must be a comma-separated list out of ${serviceNames.join(", ")}`,
  ),
  v.transform((names) => names as ServiceName[]),
);

/** Settings of an origin process; the README describes each. */
export function readOriginEnv(source?: Record<string, string | undefined>) {
  const env = readEnv(
    {
      HOST: v.optional(v.string(), "127.0.0.1"),
      PORT: v.optional(whole(0, 65_535), "8090"),
      SERVICES: v.optional(services, serviceNames.join(",")),
      ADVERTISE_URL: v.optional(url("http:", "https:")),
      VERSION: v.optional(
        v.pipe(v.string(), v.regex(/^[\w.+-]{1,64}$/, "must be 1 to 64 letters, digits, . _ + -")),
        "dev",
      ),
      LINGER_MS: v.optional(whole(0, 60_000), "3000"),
      NODE_ID: v.optional(whole(0, 31), "0"),
      LOG_LEVEL: v.optional(v.picklist(["debug", "info", "warn", "error"]), "info"),
      MYSQL_URL: url("mysql:"),
      MYSQL_CONNECTIONS: v.optional(whole(1, 1000), "16"),
      REDIS_URL: url("redis:", "rediss:"),
      ...kafkaEnv,
      OSS_URL: url("http:", "https:"),
      OSS_PUBLIC_URL: v.optional(url("http:", "https:")),
      OSS_EDGE_URL: v.optional(url("http:", "https:")),
      OSS_REGION: v.string(),
      OSS_BUCKET: v.string(),
      OSS_ACCESS_KEY_ID: v.string(),
      OSS_ACCESS_KEY_SECRET: secret(8),
      JWT_PRIVATE_KEY_FILE: v.optional(v.string()),
      JWT_CREATE_KEY: v.optional(v.picklist(["true", "false"]), "false"),
      JWT_PUBLIC_KEYS: v.optional(v.string()),
      TOKEN_TTL_S: v.optional(whole(60, 31_536_000), "604800"),
      SERVICE_TOKEN_SECRET: secret(32),
      USER_SERVICE_URL: v.optional(url("http:", "https:")),
      VIDEO_SERVICE_URL: v.optional(url("http:", "https:")),
      FAVORITE_SERVICE_URL: v.optional(url("http:", "https:")),
      COMMENT_SERVICE_URL: v.optional(url("http:", "https:")),
      RELATION_SERVICE_URL: v.optional(url("http:", "https:")),
      MESSAGE_SERVICE_URL: v.optional(url("http:", "https:")),
      MAX_UPLOAD_BYTES: v.optional(whole(1024, 4_000_000_000), "1073741824"),
      MAX_IMAGE_BYTES: v.optional(whole(1024, 100_000_000), "10485760"),
      PASSWORD_THREADS: v.optional(whole(1, 64), String(Math.min(8, availableParallelism()))),
    },
    source,
  );
  return env;
}

export type OriginEnv = ReturnType<typeof readOriginEnv>;
