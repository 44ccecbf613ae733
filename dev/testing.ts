import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readEnv, url } from "@flick/platform/env.ts";
import * as v from "valibot";

import { createGuard, type Guard } from "./guard.ts";
import { findKafka, kafkaBrokers, kafkaSpec, prepareKafka, type KafkaOptions } from "./kafka.ts";
import { mariadbSpec, mariadbUrl, prepareMariadb } from "./mariadb.ts";
import { freePorts } from "./ports.ts";
import { startProgram, type ProgramSpec } from "./program.ts";
import { ossStoreSpec, type OssAccess } from "./programs.ts";
import { prepareRedis, redisSpec, redisUrl } from "./redis.ts";

/** Servers that tests may use; every test makes a database, keys and objects of its own in them. */
export interface TestServers {
  /** Its user may create databases and read the binary log. */
  mysqlUrl: string;
  redisUrl: string;
  ossUrl: string;
  oss: OssAccess;
}

/** One server of a test's own, which it may stop and start again on the same port with the same data. */
export interface TestServer {
  url: string;
  /** Of the process that runs now. */
  pid(): number;
  /** As an operator would: SIGTERM, and wait for the end. */
  stop(): Promise<void>;
  /** As a crash would: SIGKILL, and wait for the end. */
  kill(): Promise<void>;
  /** Resolves when it answers. */
  start(): Promise<void>;
}

/**
 * The servers that the environment names (`FLICK_TEST_MYSQL_URL`, `FLICK_TEST_REDIS_URL`, `FLICK_TEST_OSS_URL` with
 * `FLICK_TEST_OSS_REGION`, `…_BUCKET`, `…_ACCESS_KEY_ID`, `…_ACCESS_KEY_SECRET`); the missing ones are started once per
 * process in a temporary folder, and are gone with it when the process ends.
 */
export function testServers(): Promise<TestServers> {
  return (shared ??= startMissing());
}

/** A MariaDB of the test's own. Its files stay in `dir`, which is the test's to remove after `stop`. */
export async function startMariadb(options: { dir: string; port?: number }): Promise<TestServer> {
  const port = options.port ?? (await freePort());
  const settings = { dir: options.dir, port, password: testSecret, durable: false };
  await prepareMariadb(settings);
  return startServer(mariadbSpec(settings), mariadbUrl(settings));
}

/** A Redis of the test's own. Its files stay in `dir`, which is the test's to remove after `stop`. */
export async function startRedis(options: { dir: string; port?: number }): Promise<TestServer> {
  const settings = { dir: options.dir, port: options.port ?? (await freePort()), password: testSecret };
  await prepareRedis(settings);
  return startServer(redisSpec(settings), redisUrl(settings));
}

/**
 * A Kafka of the test's own; `url` is what KAFKA_BROKERS takes. Its files stay in `dir`, which is the test's to remove after `stop`.
 * Tests find out whether there can be one by `describeWithKafka`.
 */
export async function startKafka(options: Pick<KafkaOptions, "dir" | "secure">): Promise<TestServer> {
  const runtime = await findKafka();
  const [port = 0, controllerPort = 0] = await freePorts(2);
  const settings = { ...options, port, controllerPort };
  await prepareKafka(settings, runtime);
  return startServer(kafkaSpec(settings, runtime), kafkaBrokers(settings));
}

/**
 * The brokers that `FLICK_TEST_KAFKA_BROKERS` names, else of a Kafka that is started when the first asks for it, once per process and
 * apart from {@link testServers}, since few tests need it. Every test has topics and groups of its own there.
 */
export function testKafka(): Promise<string> {
  const { FLICK_TEST_KAFKA_BROKERS: brokers } = readEnv({ FLICK_TEST_KAFKA_BROKERS: v.optional(v.string()) });
  return (sharedKafka ??= brokers ? Promise.resolve(brokers) : startPrivate("kafka", (dir) => startKafka({ dir })));
}

/** The environment in which {@link testServers} finds these servers. */
export function testServersEnv(servers: TestServers): Record<string, string> {
  return {
    FLICK_TEST_MYSQL_URL: servers.mysqlUrl,
    FLICK_TEST_REDIS_URL: servers.redisUrl,
    FLICK_TEST_OSS_URL: servers.ossUrl,
    FLICK_TEST_OSS_REGION: servers.oss.region,
    FLICK_TEST_OSS_BUCKET: servers.oss.bucket,
    FLICK_TEST_OSS_ACCESS_KEY_ID: servers.oss.accessKeyId,
    FLICK_TEST_OSS_ACCESS_KEY_SECRET: servers.oss.accessKeySecret,
  };
}

const testSecret = "known-to-every-test";
let shared: Promise<TestServers> | undefined;
let sharedKafka: Promise<string> | undefined;
const startPrivate = privateServers();

async function startMissing(): Promise<TestServers> {
  const env = readEnv({
    FLICK_TEST_MYSQL_URL: v.optional(url("mysql:")),
    FLICK_TEST_REDIS_URL: v.optional(url("redis:")),
    FLICK_TEST_OSS_URL: v.optional(url("http:")),
    FLICK_TEST_OSS_REGION: v.optional(v.string(), "local"),
    FLICK_TEST_OSS_BUCKET: v.optional(v.string(), "flick"),
    FLICK_TEST_OSS_ACCESS_KEY_ID: v.optional(v.string(), testSecret),
    FLICK_TEST_OSS_ACCESS_KEY_SECRET: v.optional(v.string(), testSecret),
  });
  const oss = {
    region: env.FLICK_TEST_OSS_REGION,
    bucket: env.FLICK_TEST_OSS_BUCKET,
    accessKeyId: env.FLICK_TEST_OSS_ACCESS_KEY_ID,
    accessKeySecret: env.FLICK_TEST_OSS_ACCESS_KEY_SECRET,
  };
  const [mysqlUrl, redis, ossUrl] = await Promise.all([
    env.FLICK_TEST_MYSQL_URL ?? startPrivate("mysql", (dir) => startMariadb({ dir })),
    env.FLICK_TEST_REDIS_URL ?? startPrivate("redis", (dir) => startRedis({ dir })),
    env.FLICK_TEST_OSS_URL ?? startPrivate("oss", (dir) => startOssStore({ dir, oss })),
  ]);
  return { mysqlUrl, redisUrl: redis, ossUrl, oss };
}

/** Starts servers in one temporary folder, guarded because `bun test` calls no exit handler. */
function privateServers() {
  let guard: Promise<Guard> | undefined;
  return async (name: string, start: (dir: string) => Promise<TestServer>): Promise<string> => {
    const { dir, watch } = await (guard ??= mkdtemp(join(tmpdir(), "flick-test-")).then(createGuard));
    const server = await start(join(dir, name));
    watch(server.pid());
    return server.url;
  };
}

async function startOssStore({ dir, oss }: { dir: string; oss: OssAccess }): Promise<TestServer> {
  const port = await freePort();
  return startServer(ossStoreSpec({ port, dir, oss }), `http://localhost:${port}`);
}

async function startServer(spec: ProgramSpec, address: string): Promise<TestServer> {
  const show = (line: string) => {
    if (!line.includes('"level":"info"')) process.stderr.write(`${spec.name}: ${line}\n`);
  };
  const launch = () => startProgram(spec, show);
  let program = launch();
  await program.ready;
  return {
    url: address,
    pid: () => program.pid,
    stop: () => program.stop(),
    async kill() {
      program.kill();
      await program.exited;
    },
    async start() {
      program = launch();
      await program.ready;
    },
  };
}

async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  if (port === undefined) throw new Error("no free port");
  return port;
}
