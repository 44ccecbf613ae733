/**
 * How long after its commit a change is gone from the cache, when only the change log tells of it because its writer has died:
 *
 *     bun bench/cache-lag.ts [seconds] [writes a second]
 *
 * Comments are written at a steady rate (default 500 a second, for 10 s), each under a video of its own whose list is in the cache. Measured
 * is the time from the acknowledged commit to the deletion of that list, as Redis tells of it. Each way from the binlog to an origin's consumer
 * runs as it is deployed, in processes of their own; before each comes the baseline, a reader of the binlog in this process that deletes at once,
 * with neither event log nor consumer.
 */
import { migrate } from "@flick/db/migrate.ts";
import { findFlinkCdc, flinkCdcSpec } from "@flick/dev/flink-cdc.ts";
import { freePorts } from "@flick/dev/ports.ts";
import { startProgram, type ProgramSpec } from "@flick/dev/program.ts";
import { cdcSpec, originSpec, type ProgramSettings } from "@flick/dev/programs.ts";
import { explain } from "@flick/dev/refusal.ts";
import { startKafka } from "@flick/dev/testing.ts";
import { cacheKeys } from "@flick/origin-services/cache-keys.ts";
import { keysOf } from "@flick/origin-services/invalidation.ts";
import { readBinlog } from "@flick/platform/cdc/binlog.ts";
import { decodeChange } from "@flick/platform/cdc/change-event.ts";
import { runEvents } from "@flick/platform/event-log/cli.ts";
import { createLog } from "@flick/platform/log.ts";
import { RedisClient } from "bun";
import { createPool } from "mysql2/promise";

import { startDurableServers } from "./servers.ts";

const connections = 16;
const warmUpMs = 2_000;
/** A way is set up when a change takes less than this. */
const steadyMs = 1_000;
const goneWithinMs = 60_000;
const secret = "only-for-measuring-the-lag-of-changes";

const seconds = Number(process.argv[2] ?? 10);
const rate = Number(process.argv[3] ?? 500);
const servers = await startDurableServers();
const redis = new RedisClient(servers.redisUrl);
const told = new RedisClient(servers.redisUrl);
const mysql = createPool({ uri: servers.mysqlUrl, connectionLimit: connections });
/** Of lists that are still there: when what made them stale was committed, or null before that. */
const stale = new Map<string, number | null>();
let times: number[] = [];
let made = 0;
try {
  await migrate(servers.mysqlUrl);
  await redis.send("CONFIG", ["SET", "notify-keyspace-events", "Eg"]);
  await told.subscribe("__keyevent@0__:del", gone);
  await compare("the tailer and Redis Streams", async () => {
    const own = await settings({});
    return [originSpec(own), cdcSpec(own)];
  });
  await compareOnKafka();
} finally {
  told.close();
  redis.close();
  await mysql.end();
  await servers.stop();
}

async function compareOnKafka(): Promise<void> {
  const kafka = await startKafka({ dir: `${servers.dir}/kafka` }).catch((error: unknown) => explain(error));
  if (typeof kafka === "string") return print(`not measured, without Kafka: ${kafka}`);
  const variables = { KAFKA_BROKERS: kafka.url };
  try {
    await runEvents(["topics"], variables);
    await compare("the tailer and Kafka", async () => {
      const own = await settings(variables);
      return [originSpec(own), cdcSpec(own)];
    });
    await compareByFlink(kafka.url);
  } finally {
    await kafka.stop();
  }
}

async function compareByFlink(kafkaBrokers: string): Promise<void> {
  const runtime = await findFlinkCdc().catch((error: unknown) => explain(error));
  if (typeof runtime === "string") return print(`not measured, without Flink CDC: ${runtime}`);
  const [port = 0] = await freePorts(1);
  const job = { dir: `${servers.dir}/flink`, port, mysqlUrl: servers.mysqlUrl, kafkaBrokers, serverId: 8_096 };
  await compare("Flink CDC and Kafka", async () => {
    return [originSpec(await settings({ KAFKA_BROKERS: kafkaBrokers })), flinkCdcSpec(job, runtime)];
  });
}

async function compare(name: string, describe: () => Promise<ProgramSpec[]>): Promise<void> {
  const baseline = await measureBaseline();
  const programs: ReturnType<typeof startProgram>[] = [];
  try {
    for (const spec of await describe()) {
      const program = startProgram(spec, complain);
      programs.push(program);
      await program.ready;
    }
    const measured = await measure();
    const ratio = (measured.p99 / baseline.p99).toFixed(1);
    print(`${name}: ${show(measured)}; bare reader ${show(baseline)}; p99 ${ratio} times`);
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
  }
}

async function measureBaseline() {
  const reader = readBinlog({
    mysqlUrl: servers.mysqlUrl,
    database: new URL(servers.mysqlUrl).pathname.slice(1),
    serverId: 8_095,
    log: createLog({ program: "bench", level: "error" }),
    from: null,
    onReading() {},
    onChange: (change) => void redis.del(...keysOf(decodeChange(JSON.stringify({ ...change, ts_ms: 0 })))),
    onCommit() {},
    onRollback() {},
    onSchemaChange() {},
  });
  try {
    return await measure();
  } finally {
    reader.stop();
  }
}

/** Writes until changes come through soon after they were made, then for as long as is to be measured. */
async function measure() {
  const deadline = performance.now() + goneWithinMs;
  for (;;) {
    await writeFor(250);
    if (Math.max(...times) < steadyMs) break;
    if (performance.now() > deadline) throw new Error(`changes still took ${steadyMs} ms after ${goneWithinMs} ms`);
  }
  await writeFor(warmUpMs);
  await writeFor(seconds * 1000);
  times.sort((one, other) => one - other);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? Number.NaN;
  return { writes: times.length, p50: at(0.5), p99: at(0.99), longest: at(1) };
}

/** Starts each write when it is due, whatever became of those before it, and waits until all of their lists have gone. */
async function writeFor(ms: number): Promise<void> {
  times = [];
  const writes: Promise<void>[] = [];
  const began = performance.now();
  for (let at = 0; at < (ms / 1000) * rate; at++) {
    const earlyMs = began + (at / rate) * 1000 - performance.now();
    if (earlyMs > 1) await Bun.sleep(earlyMs);
    writes.push(write(++made));
  }
  await Promise.all(writes);
  const deadline = performance.now() + goneWithinMs;
  while (stale.size > 0) {
    if (performance.now() > deadline) throw new Error(`${stale.size} lists are there after ${goneWithinMs} ms`);
    await Bun.sleep(10);
  }
}

async function write(id: number): Promise<void> {
  const key = cacheKeys.comments(id);
  stale.set(key, null);
  await redis.set(key, "stale");
  await mysql.query(
    "INSERT INTO comments (id, video_id, user_id, content, created_at) VALUES (?, ?, 1, 'so it is', 0)",
    [id, id],
  );
  // It may be gone already: the log is often read before the commit is acknowledged.
  if (stale.has(key)) stale.set(key, performance.now());
  else times.push(0);
}

function gone(key: string): void {
  const since = stale.get(key);
  if (since === undefined) return;
  stale.delete(key);
  if (since !== null) times.push(performance.now() - since);
}

async function settings(kafka: Record<string, string>): Promise<ProgramSettings> {
  const [port = 0] = await freePorts(1);
  return {
    ...servers,
    kafka,
    // Nothing is uploaded here.
    ossUrl: "http://localhost:1",
    ossPublicUrl: "http://localhost:1",
    oss: { region: "local", bucket: "flick", accessKeyId: "nobody", accessKeySecret: secret },
    upstash: { url: "", token: "" },
    jwtKeyFile: `${servers.dir}/jwt.json`,
    serviceTokenSecret: secret,
    workDir: servers.dir,
    maxUploadBytes: 1024 * 1024,
    logLevel: "error",
    ports: { gateway: 0, origin: port, worker: 0 },
  };
}

function complain(line: string): void {
  process.stderr.write(`${line}\n`);
}

type Measured = Awaited<ReturnType<typeof measure>>;

function show({ p50, p99, longest, writes }: Measured): string {
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, longest ${longest.toFixed(1)} ms of ${writes}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
