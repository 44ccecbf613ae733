import { join, resolve } from "node:path";

import { EnvError, readEnv, url, whole } from "@flick/platform/env.ts";
import { kafkaEnv } from "@flick/platform/event-log/open.ts";
import * as v from "valibot";

import type { OssAccess } from "./programs.ts";

/** Where each server of the stack listens, always on 127.0.0.1. */
export interface StackPorts {
  gateway: number;
  origin: number;
  oss: number;
  upstash: number;
  worker: number;
  mysql: number;
  redis: number;
}

/** Where a Kafka of our own listens: for clients, and for itself. */
export interface KafkaPorts {
  port: number;
  controllerPort: number;
}

/** Servers that stand in for the private ones. */
export interface ExternalServers {
  mysqlUrl?: string;
  redisUrl?: string;
  /** What KAFKA_… variables say: the event log is there. */
  kafka?: Record<string, string>;
  oss?: OssAccess & { url: string; publicUrl: string };
  upstash?: { url: string; token: string };
}

export interface DevEnv {
  dataDir: string;
  ports: StackPorts;
  kafka: KafkaPorts;
  external: ExternalServers;
  maxUploadBytes: number;
  logLevel: string;
}

const port = whole(1, 65_535);

/** The programs read them, each for itself. */
function kafkaVariables(source: Record<string, string | undefined>): Record<string, string> {
  const names = Object.keys(kafkaEnv).flatMap((name) => [name, `${name}_FILE`]);
  return Object.fromEntries(names.flatMap((name) => (source[name] ? [[name, source[name]]] : [])));
}

/** Which variable moves which port. */
export const portVariables: Record<keyof StackPorts, string> = {
  gateway: "FLICK_PORT",
  origin: "FLICK_ORIGIN_PORT",
  oss: "FLICK_OSS_PORT",
  upstash: "FLICK_UPSTASH_PORT",
  worker: "FLICK_WORKER_PORT",
  mysql: "FLICK_MYSQL_PORT",
  redis: "FLICK_REDIS_PORT",
};

/**
 * Settings of the local stack; the README describes each.
 *
 * @throws {EnvError} names every bad variable and what was expected of it.
 */
export function readDevEnv(source?: Record<string, string | undefined>): DevEnv {
  const env = readEnv(
    {
      FLICK_DATA_DIR: v.optional(v.string(), join(import.meta.dir, "..", ".data")),
      FLICK_PORT: v.optional(port, "8080"),
      FLICK_ORIGIN_PORT: v.optional(port, "8090"),
      FLICK_OSS_PORT: v.optional(port, "8091"),
      FLICK_UPSTASH_PORT: v.optional(port, "8092"),
      FLICK_WORKER_PORT: v.optional(port, "8093"),
      FLICK_MYSQL_PORT: v.optional(port, "13306"),
      FLICK_REDIS_PORT: v.optional(port, "16379"),
      FLICK_KAFKA_PORT: v.optional(port, "19092"),
      FLICK_KAFKA_CONTROLLER_PORT: v.optional(port, "19093"),
      MYSQL_URL: v.optional(url("mysql:")),
      REDIS_URL: v.optional(url("redis:", "rediss:")),
      OSS_URL: v.optional(url("http:", "https:")),
      OSS_PUBLIC_URL: v.optional(url("http:", "https:")),
      OSS_REGION: v.optional(v.string()),
      OSS_BUCKET: v.optional(v.string()),
      OSS_ACCESS_KEY_ID: v.optional(v.string()),
      OSS_ACCESS_KEY_SECRET: v.optional(v.string()),
      UPSTASH_REDIS_REST_URL: v.optional(url("http:", "https:")),
      UPSTASH_REDIS_REST_TOKEN: v.optional(v.string()),
      MAX_UPLOAD_BYTES: v.optional(whole(1024, 4_000_000_000), "1073741824"),
      LOG_LEVEL: v.optional(v.picklist(["debug", "info", "warn", "error"]), "info"),
    },
    source,
  );
  const needed = <T>(name: string, value: T | undefined, because: string): T => {
    if (value === undefined) throw new EnvError([`${name}: is missing (${because} is set)`]);
    return value;
  };
  const external: ExternalServers = {};
  if (env.MYSQL_URL) external.mysqlUrl = env.MYSQL_URL;
  if (env.REDIS_URL) external.redisUrl = env.REDIS_URL;
  const kafka = kafkaVariables(source ?? process.env);
  if (kafka["KAFKA_BROKERS"]) external.kafka = kafka;
  if (env.OSS_URL) {
    external.oss = {
      url: env.OSS_URL,
      publicUrl: env.OSS_PUBLIC_URL ?? env.OSS_URL,
      region: needed("OSS_REGION", env.OSS_REGION, "OSS_URL"),
      bucket: needed("OSS_BUCKET", env.OSS_BUCKET, "OSS_URL"),
      accessKeyId: needed("OSS_ACCESS_KEY_ID", env.OSS_ACCESS_KEY_ID, "OSS_URL"),
      accessKeySecret: needed("OSS_ACCESS_KEY_SECRET", env.OSS_ACCESS_KEY_SECRET, "OSS_URL"),
    };
  }
  if (env.UPSTASH_REDIS_REST_URL) {
    const token = needed("UPSTASH_REDIS_REST_TOKEN", env.UPSTASH_REDIS_REST_TOKEN, "UPSTASH_REDIS_REST_URL");
    external.upstash = { url: env.UPSTASH_REDIS_REST_URL, token };
  }
  return {
    dataDir: resolve(env.FLICK_DATA_DIR),
    ports: {
      gateway: env.FLICK_PORT,
      origin: env.FLICK_ORIGIN_PORT,
      oss: env.FLICK_OSS_PORT,
      upstash: env.FLICK_UPSTASH_PORT,
      worker: env.FLICK_WORKER_PORT,
      mysql: env.FLICK_MYSQL_PORT,
      redis: env.FLICK_REDIS_PORT,
    },
    kafka: { port: env.FLICK_KAFKA_PORT, controllerPort: env.FLICK_KAFKA_CONTROLLER_PORT },
    external,
    maxUploadBytes: env.MAX_UPLOAD_BYTES,
    logLevel: env.LOG_LEVEL,
  };
}
