import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { migrate } from "@flick/db/migrate.ts";
import { cacheKeys } from "@flick/origin-services/cache-keys.ts";
import { createCache } from "@flick/origin-services/cache.ts";
import { createEdgeRevocations } from "@flick/origin-services/edge-revocations.ts";
import { createFeedPurge } from "@flick/origin-services/feed-purge.ts";
import { invalidateByChanges, keysOf } from "@flick/origin-services/invalidation.ts";
import { decodeChange, type Row } from "@flick/platform/cdc/change-event.ts";
import { churn, tablesOf } from "@flick/platform/cdc/testing-churn.ts";
import {
  readKafka,
  startFlink,
  type FlinkRun,
  type KafkaReader,
  type KafkaRecord,
} from "@flick/platform/cdc/testing-flink.ts";
import { recordsOf, setUpCdcTests, tail, until } from "@flick/platform/cdc/testing.ts";
import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { createKafkaEventLog } from "@flick/platform/event-log/kafka.ts";
import { topics } from "@flick/platform/event-log/topics.ts";
import { createLog } from "@flick/platform/log.ts";
import { feedGenerations } from "@flick/proto/feed-cache.ts";
import { RedisClient } from "bun";

import { findFlinkCdc, flinkCdcSpec } from "./flink-cdc.ts";
import { describeWithFlinkCdc } from "./testing-kafka.ts";
import { startKafka, startRedis, type TestServer } from "./testing.ts";

setDefaultTimeout(300_000);

await describeWithFlinkCdc("Flink CDC", () => {
  const t = setUpCdcTests();
  let dir: string;
  let kafka: TestServer;
  let events: EventLog;
  let runs: FlinkRun[] = [];
  let readers: KafkaReader[] = [];

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-flink-"));
    kafka = await startKafka({ dir: join(dir, "kafka") });
    events = createKafkaEventLog({ connection: { brokers: [kafka.url] }, log, partitions: 3 });
  });
  afterAll(async () => {
    await events.close();
    await kafka.stop();
    await rm(dir, { recursive: true, force: true });
  });
  afterEach(async () => {
    for (const run of runs) run.kill();
    await Promise.all([...runs.map(({ exited }) => exited), ...readers.map((reader) => reader.close())]);
    [runs, readers] = [[], []];
  });

  test("publishes what the tailer publishes, without a password hash, and brings the cache to the same state", async () => {
    await migrate(t.mysqlUrl);
    const tables = await tablesOf(t.db);
    await t.db.query("SET time_zone = '+00:00'");
    await t.db.query(`CREATE TABLE kinds (
      id bigint PRIMARY KEY, big bigint, huge bigint unsigned, tiny tinyint NOT NULL, flag boolean, number int unsigned,
      state enum('uploaded','ready','très bien') NOT NULL, title varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
      body text CHARACTER SET utf8mb4, price decimal(10,2), at datetime(3), second_ datetime, exact timestamp(6) NULL, day date,
      raw varbinary(8), doc json, ratio double)`);
    await t.db.query("CREATE TABLE pairs (at int, video bigint, user bigint, PRIMARY KEY (user, video))");
    await t.db.query("CREATE TABLE marker (id int PRIMARY KEY)");
    const reader = await read([...tables, "kinds", "pairs", "marker"]);
    await start();
    await followed(reader);
    await churn(t.db, tables, { seed: 7, rounds: 10, integers: "small" });
    await churn(t.db, ["kinds", "pairs"], { seed: 8, rounds: 20, integers: "all" });
    await t.db.query("INSERT INTO marker VALUES (0)");
    tail(t);
    await until(t, async () => (await recordsOf(t, "marker", 1)).some(({ key }) => key === "0"));
    await until(t, () => of(reader, "marker").some(({ key }) => key === "0"));

    for (const table of [...tables, "kinds", "pairs"]) {
      const expected = await recordsOf(t, table, 1);
      await until(t, () => of(reader, table).length >= expected.length);
      expect(expected.length).toBeGreaterThan(20);
      expect({ table, changes: byKey(of(reader, table)) }).toEqual({ table, changes: byKey(expected) });
    }
    const all = reader.records.map(({ value }) => value).join("\n");
    expect(all).toContain('"name_key"');
    expect(all).not.toContain("password_hash");
    const partitions = Object.values(Object.groupBy(reader.records, ({ topic, key }) => `${topic} ${key}`));
    for (const ofKey of partitions) expect(new Set(ofKey?.map(({ partition }) => partition)).size).toBe(1);

    const changes = reader.records.map(({ topic, value }) => ({ topic, keys: keysOf(decodeChange(value)) }));
    const stale = new Set(changes.flatMap(({ keys }) => keys));
    const heard = new Set(changes.filter(({ keys }) => keys.length > 0).map(({ topic }) => topic));
    expect(stale.size).toBeGreaterThan(200);
    const [byFlink, byTailer] = await Promise.all([
      cacheAfter("flink", events, stale, heard),
      cacheAfter("tailer", t.eventLog, stale, heard),
    ]);
    expect(byFlink).toEqual(byTailer);
    expect(byFlink.filter(({ key }) => stale.has(key))).toEqual([]);
    expect(byFlink).toContainEqual({ key: bystander, value: "old" });
    expect(byFlink.map(({ key }) => key)).toContain(feedGenerations.all);
  });

  test("loses nothing when it is stopped or killed, and what is gone from the log is told and read anew", async () => {
    await t.db.query("CREATE TABLE steady (id int PRIMARY KEY, n int NOT NULL)");
    await t.db.query("CREATE TABLE marker (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO steady SELECT seq, 0 FROM seq_1_to_200");
    const reader = await read(["steady", "marker"]);
    let run = await start();
    await followed(reader);
    for (const end of ["SIGTERM", "SIGKILL"] as const) {
      const writing = writeFor(1_500);
      await Bun.sleep(700);
      process.kill(run.pid, end);
      await run.exited;
      await writing;
      await t.db.query("INSERT INTO steady SELECT max(id) + 1, 7 FROM steady");
      run = await start();
      await until(t, async () => Bun.deepEquals(lastRows(of(reader, "steady")), await rowsOf("steady")), 60_000);
    }
    // Each start but the first went on where the one before had come to.
    expect(of(reader, "steady").filter(({ value }) => value.includes('"op":"r"'))).toHaveLength(200);
    await run.stop();

    await t.db.query("UPDATE steady SET n = n + 1 WHERE id = 1");
    await t.db.query("FLUSH BINARY LOGS");
    await t.db.query("DELETE FROM steady WHERE id = 2");
    await purge();
    const failing = await start({
      "restart-strategy.failure-rate.max-failures-per-interval": "1",
      "restart-strategy.failure-rate.delay": "0s",
    });
    expect((await failing.exited).how).toBe("exit code 1");
    expect(failing.lines.join("\n")).toContain("MySQL has deleted the log that comes after the newest checkpoint");
    expect(lastRows(of(reader, "steady"))).not.toEqual(await rowsOf("steady"));

    await rm(join(dir, t.database, "checkpoints"), { recursive: true });
    await start();
    const newest = String((await rowsOf("steady")).at(-1)?.["id"]);
    await until(t, () => of(reader, "steady").some(({ key, value }) => key === newest && value.includes('"op":"r"')));
    await until(t, async () =>
      Bun.deepEquals(
        lastRows(of(reader, "steady")).filter((row) => row["id"] !== 2),
        await rowsOf("steady"),
      ),
    );
  });

  test("refuses a setting that it cannot use by its name, and does not show the password in it", async () => {
    expect(await refusal({ MYSQL_URL: "mysql://flick:pass word@localhost/" })).toBe(
      "flick-cdc: MYSQL_URL must be mysql://user:password@host:3306/database\n",
    );
    expect(await refusal({ MYSQL_URL: t.mysqlUrl, KAFKA_BROKERS: "" })).toBe("flick-cdc: KAFKA_BROKERS is missing\n");
    expect(await refusal({ MYSQL_URL: "", MYSQL_URL_FILE: "/nowhere" })).toStartWith(
      "flick-cdc: MYSQL_URL_FILE cannot be read",
    );
  });

  async function read(tables: readonly string[]): Promise<KafkaReader> {
    const names = tables.map((table) => `cdc.${table}`);
    const others = names.filter((name) => !topics.some((topic) => topic.name === name));
    await events.createTopics([...topics, ...others.map((name) => ({ name }))]);
    const reader = await readKafka(kafka.url, names);
    readers.push(reader);
    return reader;
  }

  /** What the cache of the origins holds after they have heard of every change: at first everything that a change makes stale. */
  async function cacheAfter(name: string, source: EventLog, stale: ReadonlySet<string>, heard: ReadonlySet<string>) {
    const server = await startRedis({ dir: join(dir, name) });
    const { url } = server;
    const redis = new RedisClient(url);
    for (const key of [...stale, bystander]) await redis.send("SET", [key, "old"]);
    const [cache, feed] = [createCache({ url, log }), createFeedPurge({ url, log })];
    const edge = createEdgeRevocations({ url, log, tokenLifetimeMs: 60_000 });
    const invalidation = invalidateByChanges({ events: source, cache, edge, feed, log });
    try {
      const lags = () => Promise.all([...heard].map((topic) => source.lag(topic, "cache")));
      await until(t, async () => (await redis.send("EXISTS", [...stale])) === 0, 60_000);
      await until(t, async () => (await lags()).every((lag) => lag === 0), 60_000);
      return await contents(redis);
    } finally {
      await invalidation.close();
      for (const client of [cache, feed, edge, redis]) client.close();
      await server.stop();
    }
  }

  async function start(flink: Record<string, string> = {}): Promise<FlinkRun> {
    const run = await startFlink(t, { dir: join(dir, t.database), kafkaBrokers: kafka.url, flink });
    runs.push(run);
    await run.ready;
    return run;
  }

  /** Waits until changes come from the log: what is there before, it reads as rows. */
  async function followed(reader: KafkaReader): Promise<void> {
    let id = 1;
    await until(
      t,
      async () => {
        await t.db.query("INSERT INTO marker VALUES (?)", [id++]);
        await Bun.sleep(100);
        return of(reader, "marker").some(({ value }) => value.includes('"op":"c"'));
      },
      60_000,
    );
  }

  async function writeFor(ms: number): Promise<void> {
    const end = Date.now() + ms;
    for (let i = 0; Date.now() < end; i++) {
      await t.db.query("INSERT INTO steady SELECT max(id) + 1, 0 FROM steady");
      await t.db.query("UPDATE steady SET n = n + 1 WHERE id = ?", [1 + (i % 200)]);
    }
  }

  async function rowsOf(table: string): Promise<Row[]> {
    const [rows] = await t.db.query(`SELECT * FROM ${table} ORDER BY id`);
    return rows as Row[];
  }

  /** The server keeps a file for a reader that it believes to be there. */
  async function purge(): Promise<void> {
    await t.db.query("FLUSH BINARY LOGS");
    const [status] = (await t.db.query("SHOW MASTER STATUS"))[0] as Row[];
    await until(t, async () => {
      await t.db.query("PURGE BINARY LOGS TO ?", [status?.["File"]]);
      const files = (await t.db.query("SHOW BINARY LOGS"))[0] as Row[];
      return files.length === 1;
    });
  }

  /** Records of this test: the topics are everybody's. */
  function of(reader: KafkaReader, table: string): KafkaRecord[] {
    return reader.records.filter(
      ({ topic, value }) => topic === `cdc.${table}` && value.includes(`"db":"${t.database}"`),
    );
  }
});

/** What the job says when it ends at once. */
async function refusal(env: Record<string, string>): Promise<string> {
  const options = { dir: tmpdir(), port: 0, mysqlUrl: "", kafkaBrokers: "127.0.0.1:9", serverId: 1 };
  const { command, env: given } = flinkCdcSpec(options, await findFlinkCdc());
  const job = Bun.spawn([...command], { env: { ...given, ...env }, stdout: "ignore", stderr: "pipe" });
  expect(await job.exited).toBe(1);
  return job.stderr.text();
}

/** Nobody changes this user. */
const bystander = cacheKeys.user(424_242);
const log = createLog({ program: "test", level: "error", write: (line) => process.stderr.write(line) });

/** All keys and values, ordered by key. What the feed's generations are called is left to chance. */
async function contents(redis: RedisClient): Promise<{ key: string; value: unknown }[]> {
  const keys = (await redis.keys("*")).toSorted();
  return Promise.all(
    keys.map(async (key) => {
      if (Object.values<string>(feedGenerations).includes(key)) return { key, value: "set" };
      const type = await redis.send("TYPE", [key]);
      // Scores are times.
      if (type === "zset") return { key, value: await redis.send("ZRANGE", [key, "0", "-1"]) };
      return { key, value: type === "hash" ? await redis.hgetall(key) : await redis.get(key) };
    }),
  );
}

/** What a consumer sees of each key, in its order. Where in the log it lies, the two sources count differently. */
function byKey(records: readonly { key: string; value: string }[]) {
  const changes = new Map<string, unknown[]>();
  for (const { key, value } of records) {
    const { position: _, ...change } = decodeChange(value);
    changes.set(key, [...(changes.get(key) ?? []), change]);
  }
  return Object.fromEntries([...changes].toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

/** The rows that are left when all changes are applied, by id. */
function lastRows(records: readonly KafkaRecord[]) {
  const rows = new Map<string, Record<string, unknown>>();
  for (const { key, value } of records) {
    const { after } = decodeChange(value);
    if (after) rows.set(key, after);
    else rows.delete(key);
  }
  return [...rows.values()].toSorted((one, other) => Number(one["id"]) - Number(other["id"]));
}
