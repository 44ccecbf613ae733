import { join } from "node:path";

import { host } from "./ports.ts";
import { httpAnswers } from "./probes.ts";
import { bunCommand, type ProgramSpec } from "./program.ts";

/** Access to one bucket. */
export interface OssAccess {
  region: string;
  bucket: string;
  accessKeyId: string;
  accessKeySecret: string;
}

/** What our own programs are told; each of them reads the part that it needs. */
export interface ProgramSettings {
  mysqlUrl: string;
  redisUrl: string;
  /** KAFKA_… variables, when the event log is on Kafka; else it is in Redis. */
  kafka?: Record<string, string>;
  /** Where our programs reach the bucket. */
  ossUrl: string;
  /** Where players reach it. */
  ossPublicUrl: string;
  oss: OssAccess;
  /** Redis over HTTP. */
  upstash: { url: string; token: string };
  jwtKeyFile: string;
  serviceTokenSecret: string;
  workDir: string;
  maxUploadBytes: number;
  logLevel: string;
  ports: { gateway: number; origin: number; worker: number };
}

const root = join(import.meta.dir, "..");

export function ossStoreSpec(options: { port: number; dir: string; oss: OssAccess }): ProgramSpec {
  return {
    name: "oss",
    command: bunCommand(join(root, "dev/oss-store/main.ts")),
    env: {
      HOST: host,
      OSS_STORE_PORT: String(options.port),
      OSS_STORE_DIR: options.dir,
      ...ossEnv(options.oss),
    },
    probe: () => httpAnswers(`http://${host}:${options.port}/`),
    stopWithinMs: 1000,
  };
}

export function upstashFrontSpec(options: { port: number; token: string; redisUrl: string }): ProgramSpec {
  return {
    name: "upstash",
    command: bunCommand(join(root, "dev/upstash-front/main.ts")),
    env: {
      HOST: host,
      UPSTASH_FRONT_PORT: String(options.port),
      UPSTASH_REDIS_REST_TOKEN: options.token,
      REDIS_URL: options.redisUrl,
    },
    probe: () => httpAnswers(`http://${host}:${options.port}/`),
    stopWithinMs: 1000,
  };
}

export function originSpec(settings: ProgramSettings): ProgramSpec {
  const { ports } = settings;
  return {
    name: "origin",
    command: bunCommand(join(root, "origin-services/main.ts")),
    env: {
      HOST: host,
      PORT: String(ports.origin),
      NODE_ID: "0",
      ADVERTISE_URL: `http://${host}:${ports.origin}`,
      // The gateway stops before it.
      LINGER_MS: "0",
      MYSQL_URL: settings.mysqlUrl,
      REDIS_URL: settings.redisUrl,
      ...settings.kafka,
      OSS_URL: settings.ossUrl,
      OSS_PUBLIC_URL: settings.ossPublicUrl,
      ...ossEnv(settings.oss),
      JWT_PRIVATE_KEY_FILE: settings.jwtKeyFile,
      JWT_CREATE_KEY: "true",
      SERVICE_TOKEN_SECRET: settings.serviceTokenSecret,
      MAX_UPLOAD_BYTES: String(settings.maxUploadBytes),
      LOG_LEVEL: settings.logLevel,
    },
    probe: () => httpAnswers(`http://${host}:${ports.origin}/readyz`),
    stopWithinMs: 2000,
  };
}

export function cdcSpec(settings: ProgramSettings): ProgramSpec {
  return {
    name: "cdc",
    command: bunCommand(join(root, "platform/cdc/main.ts")),
    env: {
      MYSQL_URL: settings.mysqlUrl,
      REDIS_URL: settings.redisUrl,
      ...settings.kafka,
      // The tailer reads as a replica does: its number must differ from the server's own and from every other reader's.
      CDC_SERVER_ID: "8094",
      LOG_LEVEL: settings.logLevel,
    },
    stopWithinMs: 1000,
  };
}

export function workerSpec(settings: ProgramSettings): ProgramSpec {
  const { ports } = settings;
  return {
    name: "worker",
    command: bunCommand(join(root, "media-worker/main.ts")),
    env: {
      ORIGIN_URL: `http://${host}:${ports.origin}`,
      REDIS_URL: settings.redisUrl,
      ...settings.kafka,
      OSS_URL: settings.ossUrl,
      ...ossEnv(settings.oss),
      SERVICE_TOKEN_SECRET: settings.serviceTokenSecret,
      WORK_DIR: settings.workDir,
      MAX_INPUT_BYTES: String(settings.maxUploadBytes),
      // A job that is not done by then is given back, before our patience ends.
      DRAIN_MS: "1500",
      HEALTH_PORT: String(ports.worker),
      LOG_LEVEL: settings.logLevel,
    },
    probe: () => httpAnswers(`http://${host}:${ports.worker}/healthz`),
    stopWithinMs: 2500,
  };
}

export function gatewaySpec(settings: ProgramSettings): ProgramSpec {
  const { ports } = settings;
  return {
    name: "gateway",
    command: bunCommand(join(root, "dev/gateway.ts")),
    env: {
      HOST: host,
      PORT: String(ports.gateway),
      ORIGIN_URL: `http://${host}:${ports.origin}`,
      UPSTASH_REDIS_REST_URL: settings.upstash.url,
      UPSTASH_REDIS_REST_TOKEN: settings.upstash.token,
      MAX_UPLOAD_BYTES: String(settings.maxUploadBytes),
      // All that comes here comes from one address, 127.0.0.1.
      IP_LIMIT_FACTOR: "1000",
    },
    probe: () => httpAnswers(`http://${host}:${ports.gateway}/healthz`),
    stopWithinMs: 1500,
  };
}

function ossEnv(oss: OssAccess): Record<string, string> {
  return {
    OSS_REGION: oss.region,
    OSS_BUCKET: oss.bucket,
    OSS_ACCESS_KEY_ID: oss.accessKeyId,
    OSS_ACCESS_KEY_SECRET: oss.accessKeySecret,
  };
}
