import { beforeEach, describe, expect, test } from "bun:test";

import type { RowDataPacket } from "mysql2/promise";

import type { EventLog, EventRecord } from "../event-log/event-log.ts";
import { offsetsTopic } from "../event-log/topics.ts";
import { changesOf, errors, setUpCdcTests, tail, until } from "./testing.ts";

const t = setUpCdcTests();
// So that files have the same names in every test.
beforeEach(async () => {
  await t.db.query("RESET MASTER");
});

describe("the tailer's position", () => {
  test("is published in the same call as the changes before it, whole transactions together", async () => {
    await t.db.query("CREATE TABLE a (id int PRIMARY KEY)");
    await t.db.query("CREATE TABLE b (id int PRIMARY KEY)");
    const calls: EventRecord[][] = [];
    tail(t, spyOn(t.eventLog, calls));
    await until(t, () => calls.length > 0);
    for (let i = 0; i < 20; i++) {
      await t.db.query("BEGIN");
      await t.db.query(`INSERT INTO a VALUES (${i})`);
      await t.db.query(`INSERT INTO b VALUES (${i})`);
      await t.db.query(`INSERT INTO a VALUES (${i} + 100)`);
      await t.db.query("COMMIT");
    }
    await changesOf(t, "a", 40);
    await changesOf(t, "b", 20);
    for (const call of calls) {
      expect(call.filter(({ topic }) => topic === offsetsTopic)).toHaveLength(1);
      expect(call.at(-1)).toMatchObject({ topic: offsetsTopic, key: t.database });
      expect(call.filter(({ topic }) => topic === "cdc.a")).toHaveLength(
        2 * call.filter(({ topic }) => topic === "cdc.b").length,
      );
    }
  });

  test("comes with the last piece of a huge transaction, whose changes never pile up", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY, text varchar(100))");
    const calls: EventRecord[][] = [];
    const tailer = tail(t, spyOn(t.eventLog, calls));
    await until(t, () => calls.length > 0);
    const before = calls.length;
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, tailer.status().waiting.changes)), 1);
    await t.db.query("INSERT INTO t SELECT seq, REPEAT('x', 100) FROM seq_1_to_40000");
    await until(t, () => calls.slice(before).some((call) => call.at(-1)?.topic === offsetsTopic));
    clearInterval(watch);
    const pieces = calls.slice(before);
    expect(pieces.length).toBeGreaterThan(10);
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThanOrEqual(2_001);
    expect(pieces.flat().filter(({ topic }) => topic === offsetsTopic)).toHaveLength(1);
    expect(most).toBeLessThan(4_000);
    expect((await changesOf(t, "t", 40_000)).map(({ after }) => after?.["id"])).toEqual(
      Array.from({ length: 40_000 }, (_, i) => i + 1),
    );
  });

  test("waits for the last change before it when a finished transaction needs several calls", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO t SELECT seq FROM seq_1_to_1500");
    const calls: EventRecord[][] = [];
    tail(t, spyOn(t.eventLog, calls));
    await changesOf(t, "t", 1_500);
    await until(t, () => calls.at(-1)?.at(-1)?.topic === offsetsTopic);
    const before = calls.length;
    // Each of these changes is published as two.
    await t.db.query("UPDATE t SET id = id + 10000");
    await changesOf(t, "t", 4_500);
    await until(t, () => calls.at(-1)?.at(-1)?.topic === offsetsTopic);
    const pieces = calls.slice(before);
    expect(pieces.length).toBeGreaterThan(1);
    const positions = pieces.map((call) => call.filter(({ topic }) => topic === offsetsTopic).length);
    expect(positions).toEqual([...Array<number>(pieces.length - 1).fill(0), 1]);
  });

  test("lets the next start go on exactly behind what was published", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    const first = tail(t);
    for (let i = 0; i < 50; i++) await t.db.query(`INSERT INTO t VALUES (${i})`);
    await changesOf(t, "t", 50);
    await first.stop();
    for (let i = 50; i < 100; i++) await t.db.query(`INSERT INTO t VALUES (${i})`);
    await t.db.query("FLUSH BINARY LOGS");
    for (let i = 100; i < 110; i++) await t.db.query(`INSERT INTO t VALUES (${i})`);
    tail(t);
    await changesOf(t, "t", 110);
    await Bun.sleep(300);
    expect((await changesOf(t, "t", 110)).map(({ after }) => after?.["id"])).toEqual(
      Array.from({ length: 110 }, (_, i) => i),
    );
  });

  test("advances at rest too, so that an old binlog can be deleted", async () => {
    const tailer = tail(t);
    await until(t, () => tailer.status().published !== null);
    await t.db.query("FLUSH BINARY LOGS");
    await until(t, async () => (await t.eventLog.last(offsetsTopic))?.value.includes("binlog.000002") === true, 30_000);
    expect(tailer.status()).toMatchObject({
      reading: true,
      published: { file: "binlog.000002" },
      waiting: { changes: 0, ageMs: 0 },
    });
  });

  test("that is gone from the server is a loud error, and reading starts at the oldest binlog", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO t VALUES (1)");
    const first = tail(t);
    await changesOf(t, "t", 1);
    await first.stop();
    await t.db.query("INSERT INTO t VALUES (2)");
    await t.db.query("FLUSH BINARY LOGS");
    await t.db.query("INSERT INTO t VALUES (3)");
    // The server keeps a file for a reader that it believes to be there.
    await until(t, async () => {
      await t.db.query("PURGE BINARY LOGS TO 'binlog.000002'");
      const [files] = await t.db.query<RowDataPacket[]>("SHOW BINARY LOGS");
      return files[0]?.["Log_name"] === "binlog.000002";
    });
    tail(t);
    const changes = await changesOf(t, "t", 2);
    expect(changes.map(({ after }) => after?.["id"])).toEqual([1, 3]);
    expect(errors(t)).toEqual([expect.stringContaining("the stored position is gone")]);
  });

  test("in a file of another server's life, though of the same name, counts as gone", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO t VALUES (1)");
    const first = tail(t);
    await changesOf(t, "t", 1);
    await first.stop();
    await Bun.sleep(1_100);
    await t.db.query("RESET MASTER");
    for (let i = 2; i < 12; i++) await t.db.query(`INSERT INTO t VALUES (${i})`);
    tail(t);
    const changes = await changesOf(t, "t", 11);
    expect(changes.map(({ after }) => after?.["id"])).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(errors(t)).toEqual([expect.stringContaining("the stored position is gone")]);
  });

  test("of another database, or one that cannot be read, is not used", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO t VALUES (1)");
    await t.eventLog.publish([{ topic: offsetsTopic, key: t.database, value: "nonsense" }]);
    tail(t);
    await changesOf(t, "t", 1);
    expect(errors(t)).toEqual([expect.stringContaining("the stored position is gone")]);
  });
});

function spyOn(eventLog: EventLog, calls: EventRecord[][]): EventLog {
  return {
    ...eventLog,
    async publish(records) {
      calls.push([...records]);
      await eventLog.publish(records);
    },
  };
}
