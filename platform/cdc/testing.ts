import { afterAll, afterEach, beforeAll, beforeEach } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startMariadb, startRedis, type TestServer } from "@flick/dev/testing.ts";
import { RedisClient } from "bun";
import mysql, { type Connection } from "mysql2/promise";

import type { EventLog, EventRecord } from "../event-log/event-log.ts";
import { redisKeys } from "../event-log/redis-scripts.ts";
import { createRedisStreamsEventLog } from "../event-log/redis-streams.ts";
import { createLog } from "../log.ts";
import { decodeChange, type Change } from "./change-event.ts";
import { createBinlogTailer, type BinlogTailer } from "./tailer.ts";

/** What a test of the tailer works with: its own servers, and for each test a database and an empty event log. */
export interface CdcTest {
  mariadb: TestServer;
  redis: TestServer;
  database: string;
  mysqlUrl: string;
  db: Connection;
  eventLog: EventLog;
  /** What was logged. */
  lines: { level: string; message: string; error?: { message: string } }[];
}

const tailers = new Set<BinlogTailer>();

/** Starts the servers for the tests of one file; the fields of the result are there while a test runs. */
export function setUpCdcTests(): CdcTest {
  const t = {} as CdcTest;
  let dir: string;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-cdc-"));
    const [mariadb, redis] = await Promise.all([
      startMariadb({ dir: join(dir, "mariadb") }),
      startRedis({ dir: join(dir, "redis") }),
    ]);
    Object.assign(t, { mariadb, redis });
  });

  afterAll(async () => {
    await Promise.all([t.mariadb.stop(), t.redis.stop()]);
    await rm(dir, { recursive: true, force: true });
  });

  beforeEach(async () => {
    t.database = `test_${crypto.randomUUID().slice(0, 8)}`;
    const address = new URL(t.mariadb.url);
    address.pathname = t.database;
    t.mysqlUrl = address.href;
    const server = await mysql.createConnection({ uri: t.mariadb.url });
    await server.query("SET GLOBAL binlog_row_metadata = FULL");
    await server.query(`CREATE DATABASE ${t.database}`);
    await server.end();
    t.db = await connect(t);
    t.lines = [];
    t.eventLog = createRedisStreamsEventLog({ url: t.redis.url, log: logOf(t), commandTimeoutMs: 1_000 });
    await fromRedis(t, "FLUSHALL", []);
  });

  afterEach(async () => {
    await Promise.all([...tailers].map((tailer) => tailer.stop()));
    tailers.clear();
    await t.eventLog.close();
    await t.db.end();
  });

  return t;
}

/** Starts a tailer; it is stopped after the test if not before. */
export function tail(t: CdcTest, into: EventLog = t.eventLog): BinlogTailer {
  const { mysqlUrl, database } = t;
  const tailer = createBinlogTailer({ mysqlUrl, database, eventLog: into, log: logOf(t), serverId: 4_242 });
  tailers.add(tailer);
  return tailer;
}

/** Starts the tailer as a program. */
export function startProgram(t: CdcTest, env: Record<string, string> = {}) {
  const path = process.env["PATH"] ?? "";
  return Bun.spawn([process.execPath, "--no-orphans", join(import.meta.dir, "main.ts")], {
    env: { PATH: path, MYSQL_URL: t.mysqlUrl, REDIS_URL: t.redis.url, CDC_SERVER_ID: "4242", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
}

export function errors(t: CdcTest): string[] {
  return t.lines.filter(({ level }) => level === "error").map(({ message }) => message);
}

export function connect(t: CdcTest): Promise<Connection> {
  return mysql.createConnection({ uri: t.mysqlUrl });
}

/** Waits until there are so many changes of a table in the event log, then gives all there are, oldest first. */
export async function recordsOf(t: CdcTest, table: string, count: number, withinMs = 10_000): Promise<EventRecord[]> {
  const topic = `cdc.${table}`;
  await until(t, async () => (await countOf(t, table).catch(() => 0)) >= count, withinMs);
  const entries = await fromRedis<[string, string[]][]>(t, "XRANGE", [redisKeys.stream(topic), "-", "+"]);
  return entries.map(([, [, key = "", , value = ""]]) => ({ topic, key, value }));
}

export async function changesOf(t: CdcTest, table: string, count: number, withinMs?: number): Promise<Change[]> {
  return (await recordsOf(t, table, count, withinMs)).map(({ value }) => decodeChange(value));
}

export function countOf(t: CdcTest, table: string): Promise<number> {
  return fromRedis(t, "XLEN", [redisKeys.stream(`cdc.${table}`)]);
}

export async function topicsOf(t: CdcTest): Promise<string[]> {
  const keys = await fromRedis<string[]>(t, "KEYS", [redisKeys.stream("*")]);
  return keys.map((key) => key.slice(redisKeys.stream("").length)).toSorted();
}

export async function until(t: CdcTest, holds: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline)
      throw new Error(`waited ${withinMs} ms in vain; the log says ${JSON.stringify(t.lines)}`);
    await Bun.sleep(20);
  }
}

function logOf(t: CdcTest) {
  const write = (line: string) => void t.lines.push(JSON.parse(line) as CdcTest["lines"][number]);
  return createLog({ program: "test", write });
}

async function fromRedis<T>(t: CdcTest, command: string, args: string[]): Promise<T> {
  const redis = new RedisClient(t.redis.url);
  try {
    return (await redis.send(command, args)) as T;
  } finally {
    redis.close();
  }
}
