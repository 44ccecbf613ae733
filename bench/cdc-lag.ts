/**
 * How long a committed change takes to delete what the cache holds of it, through Kafka, fed by the built-in tailer and then by Flink CDC:
 *
 *     bun bench/cdc-lag.ts [seconds] [writes a second]
 *
 * Comments are inserted at an even rate (default 500 a second for 20 s, after 3 s to warm up), each commit on the disk before it is
 * acknowledged. From the moment its writer has the answer: `record` until a member of a group has the event, `gone` until the origins' own
 * consumer group has deleted the key. Also how long each source takes from its start to its first event, and to the first from the log. Needs Java and Maven.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { migrate } from "@flick/db/migrate.ts";
import { findFlinkCdc, flinkCdcSpec } from "@flick/dev/flink-cdc.ts";
import { freePorts } from "@flick/dev/ports.ts";
import { startProgram } from "@flick/dev/program.ts";
import { startKafka } from "@flick/dev/testing.ts";
import { createCache } from "@flick/origin-services/cache.ts";
import { createEdgeRevocations } from "@flick/origin-services/edge-revocations.ts";
import { createFeedPurge } from "@flick/origin-services/feed-purge.ts";
import { invalidateByChanges } from "@flick/origin-services/invalidation.ts";
import { decodeChange } from "@flick/platform/cdc/change-event.ts";
import { databaseOf } from "@flick/platform/cdc/env.ts";
import { createBinlogTailer } from "@flick/platform/cdc/tailer.ts";
import { createKafkaEventLog } from "@flick/platform/event-log/kafka.ts";
import { topics } from "@flick/platform/event-log/topics.ts";
import { createLog } from "@flick/platform/log.ts";
import { createPool } from "mysql2/promise";

import { startDurableServers } from "./servers.ts";

const seconds = Number(process.argv[2] ?? 20);
const rate = Number(process.argv[3] ?? 500);
const warmUpMs = 3_000;
const catchUpMs = 60_000;

/** By video, which each comment has for itself, `performance.now()`. */
const committedAt = new Map<number, number>();
const readAt = new Map<number, number>();
const goneAt = new Map<number, number>();
let lastId = 0;
/** Flink reads rows first, and then the log. */
let newestFromLog = 0;

const dir = await mkdtemp(join(tmpdir(), "flick-cdc-lag-"));
const log = createLog({ program: "bench", level: "error" });
const [servers, kafka] = await Promise.all([startDurableServers(), startKafka({ dir: join(dir, "kafka") })]);
const { mysqlUrl, redisUrl: url } = servers;
await migrate(mysqlUrl);
const mysql = createPool({ uri: mysqlUrl, connectionLimit: 32 });
const events = createKafkaEventLog({ connection: { brokers: [kafka.url] }, log });
await events.createTopics(topics);
const cache = createCache({ url, log });
const [feed, edge] = [createFeedPurge({ url, log }), createEdgeRevocations({ url, log, tokenLifetimeMs: 60_000 })];
const invalidation = invalidateByChanges({
  events,
  cache: {
    ...cache,
    async delete(keys) {
      const deleted = await cache.delete(keys);
      for (const key of keys) goneAt.set(Number(key.replace("comment::", "")), performance.now());
      return deleted;
    },
  },
  edge,
  feed,
  log,
});
await events.subscribe({
  group: "bench",
  topics: ["cdc.comments"],
  concurrency: 64,
  async handler({ value }) {
    const { after, position } = decodeChange(value);
    readAt.set(Number(after?.["video_id"]), performance.now());
    if (position !== null) newestFromLog = Number(after?.["id"]);
  },
});

await measureSource("tailer", async () => {
  const database = databaseOf(mysqlUrl);
  const tailer = createBinlogTailer({ mysqlUrl, database, eventLog: events, log, serverId: 4_001 });
  return () => tailer.stop();
});
await measureSource("Flink CDC", async () => {
  const [port = 0] = await freePorts(1);
  const options = { dir: join(dir, "flink"), port, mysqlUrl, kafkaBrokers: kafka.url, serverId: 4_002 };
  const program = startProgram(flinkCdcSpec(options, await findFlinkCdc()), (line) =>
    process.stderr.write(`${line}\n`),
  );
  await program.ready;
  return () => program.stop();
});

await invalidation.close();
await events.close();
for (const client of [cache, feed, edge]) client.close();
await mysql.end();
await Promise.all([servers.stop(), kafka.stop()]);
await rm(dir, { recursive: true, force: true });
process.exit(0);

async function measureSource(name: string, start: () => Promise<() => Promise<void>>): Promise<void> {
  const begun = performance.now();
  const stop = await start();
  const before = await write();
  await until(() => goneAt.has(before));
  const firstMs = performance.now() - begun;
  while (newestFromLog <= before) {
    await write();
    await Bun.sleep(20);
  }
  const startMs = performance.now() - begun;
  await writeFor(warmUpMs);
  const from = lastId;
  await writeFor(seconds * 1_000);
  await until(() => goneAt.has(lastId) && goneAt.size >= lastId);
  const ids = Array.from({ length: lastId - from }, (_, index) => from + 1 + index);
  const lag = (seen: Map<number, number>) => percentiles(ids.map((id) => at(seen, id) - at(committedAt, id)));
  process.stdout.write(
    `${name.padEnd(10)} first event after ${(firstMs / 1_000).toFixed(1)} s, follows the log after ${(startMs / 1_000).toFixed(1)} s   ${ids.length} writes   record ${lag(readAt)}   gone ${lag(goneAt)}\n`,
  );
  await stop();
}

async function write(): Promise<number> {
  const id = ++lastId;
  await mysql.execute("INSERT INTO comments VALUES (?, ?, 1, 'a comment of middling length', 0)", [id, id]);
  committedAt.set(id, performance.now());
  return id;
}

/** Evenly, whatever a write takes. */
async function writeFor(ms: number): Promise<void> {
  const begun = performance.now();
  const writes: Promise<number>[] = [];
  while (performance.now() - begun < ms) {
    while (writes.length < ((performance.now() - begun) / 1_000) * rate) writes.push(write());
    await Bun.sleep(1);
  }
  await Promise.all(writes);
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + catchUpMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`the events did not come within ${catchUpMs / 1_000} s`);
    await Bun.sleep(5);
  }
}

function at(times: Map<number, number>, id: number): number {
  return times.get(id) ?? Number.NaN;
}

function percentiles(values: number[]): string {
  const sorted = values.toSorted((one, other) => one - other);
  const value = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN);
  return `p50 ${value(0.5)} p99 ${value(0.99)} max ${value(1)} ms`;
}
