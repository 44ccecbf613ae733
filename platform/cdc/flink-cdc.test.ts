import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { migrate } from "@flick/db/migrate.ts";
import { describeWithFlinkCdc } from "@flick/dev/testing-kafka.ts";
import { startKafka, type TestServer } from "@flick/dev/testing.ts";
import type { RowDataPacket } from "mysql2/promise";

import { decodeChange } from "./change-event.ts";
import {
  createTopics,
  readKafka,
  startFlink,
  type FlinkRun,
  type KafkaReader,
  type KafkaRecord,
} from "./testing-flink.ts";
import { churn, tablesOf } from "./testing-churn.ts";
import { recordsOf, setUpCdcTests, tail, until } from "./testing.ts";

setDefaultTimeout(180_000);

await describeWithFlinkCdc("Flink CDC", () => {
  const t = setUpCdcTests();
  let dir: string;
  let kafka: TestServer;
  let runs: FlinkRun[] = [];
  let readers: KafkaReader[] = [];

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-flink-"));
    kafka = await startKafka({ dir: join(dir, "kafka") });
  });
  afterAll(async () => {
    await kafka.stop();
    await rm(dir, { recursive: true, force: true });
  });
  afterEach(async () => {
    for (const run of runs) run.kill();
    await Promise.all([...runs.map(({ exited }) => exited), ...readers.map((reader) => reader.close())]);
    [runs, readers] = [[], []];
  });

  test("publishes what the tailer publishes: records, keys, images, values of all kinds, and no password hash", async () => {
    await migrate(t.mysqlUrl);
    await t.db.query("SET time_zone = '+00:00'");
    await t.db.query(`CREATE TABLE kinds (
      id bigint PRIMARY KEY, big bigint, huge bigint unsigned, tiny tinyint NOT NULL, flag boolean, number int unsigned,
      state enum('uploaded','ready','très bien') NOT NULL, title varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
      body text CHARACTER SET utf8mb4, price decimal(10,2), at datetime(3), second_ datetime, exact timestamp(6) NULL, day date,
      raw varbinary(8), doc json, ratio double)`);
    await t.db.query("CREATE TABLE likes (at int, video bigint, user bigint, PRIMARY KEY (user, video))");
    await t.db.query("CREATE TABLE marker (id int PRIMARY KEY)");
    const tables = (await tablesOf(t.db)).filter((table) => table !== "marker");
    const reader = await read([...tables, "marker"]);
    await start();
    await followed(reader);
    await churn(t.db, tables, { seed: 7, rounds: 12 });
    await t.db.query("INSERT INTO marker VALUES (0)");
    tail(t);
    await until(t, async () => (await recordsOf(t, "marker", 1)).some(({ key }) => key === "0"));
    await until(t, () => of(reader, "marker").some(({ key }) => key === "0"));
    for (const table of tables) {
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
  });

  test("loses nothing when it is stopped or killed, and what is gone from the log is told and read anew", async () => {
    await t.db.query("CREATE TABLE steady (id int PRIMARY KEY, n int NOT NULL)");
    await t.db.query("CREATE TABLE marker (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO steady SELECT seq, 0 FROM seq_1_to_200");
    const reader = await read(["steady", "marker"]);
    let run = await start();
    await followed(reader);
    for (const end of ["SIGTERM", "SIGKILL"] as const) {
      const writing = writeFor(3_000);
      await Bun.sleep(1_500);
      process.kill(run.pid, end);
      await run.exited;
      await writing;
      await t.db.query("INSERT INTO steady SELECT max(id) + 1, 7 FROM steady");
      run = await start();
      await until(t, async () => Bun.deepEquals(lastRows(of(reader, "steady")), await rowsOf("steady")), 60_000);
    }
    await run.stop();

    await t.db.query("UPDATE steady SET n = n + 1 WHERE id = 1");
    await t.db.query("FLUSH BINARY LOGS");
    await t.db.query("DELETE FROM steady WHERE id = 2");
    await purge();
    const failing = await start({ "restart-strategy.failure-rate.max-failures-per-interval": "1" });
    expect((await failing.exited).how).toBe("exit code 1");
    expect(failing.lines.join("\n")).toContain("MySQL has deleted the log that comes after the newest checkpoint");
    expect(lastRows(of(reader, "steady"))).not.toEqual(await rowsOf("steady"));

    await rm(join(dir, t.database, "checkpoints"), { recursive: true });
    await start();
    const [{ id: newest } = { id: 0 }] = (await rowsOf("steady")).slice(-1);
    await until(t, () => reader.records.some(({ key, value }) => key === String(newest) && value.includes('"op":"r"')));
    await until(t, async () =>
      Bun.deepEquals(
        lastRows(of(reader, "steady")).filter(({ id }) => id !== 2),
        await rowsOf("steady"),
      ),
    );
  });

  async function read(tables: readonly string[]): Promise<KafkaReader> {
    const topics = tables.map((table) => `cdc.${table}`);
    await createTopics(kafka.url, topics, 3);
    const reader = await readKafka(kafka.url, topics);
    readers.push(reader);
    return reader;
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

  async function rowsOf(table: string): Promise<RowDataPacket[]> {
    const [rows] = await t.db.query<RowDataPacket[]>(`SELECT * FROM ${table} ORDER BY id`);
    return rows;
  }

  /** The server keeps a file for a reader that it believes to be there. */
  async function purge(): Promise<void> {
    await t.db.query("FLUSH BINARY LOGS");
    const [status] = await t.db.query<RowDataPacket[]>("SHOW MASTER STATUS");
    await until(t, async () => {
      await t.db.query("PURGE BINARY LOGS TO ?", [status[0]?.["File"]]);
      const [files] = await t.db.query<RowDataPacket[]>("SHOW BINARY LOGS");
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
