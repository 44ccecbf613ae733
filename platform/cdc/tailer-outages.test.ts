import { describe, expect, test } from "bun:test";

import type { EventRecord } from "../event-log/event-log.ts";
import { changesOf, connect, countOf, errors, setUpCdcTests, startProgram, tail, until } from "./testing.ts";

const t = setUpCdcTests();

describe("the tailer survives", () => {
  test("SIGKILL in the middle of a burst of writes: nothing is missing, and every key keeps its order", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL)");
    await t.db.query("INSERT INTO t SELECT seq, 0 FROM seq_1_to_8");
    const end = Date.now() + 4_000;
    const committed = new Map<number, number>();
    const write = async (id: number) => {
      const connection = await connect(t);
      for (let n = 1; Date.now() < end; n++) {
        await connection.query("BEGIN");
        await connection.query("UPDATE t SET n = ? WHERE id = ?", [n, id]);
        await connection.query("UPDATE t SET n = n + 1 WHERE id = ?", [id + 4]);
        await connection.query("COMMIT");
        committed.set(id, n);
        await Bun.sleep(1);
      }
      await connection.end();
    };
    const writing = Promise.all([1, 2, 3, 4].map(write));
    let kills = 0;
    for (; Date.now() < end; kills++) {
      const program = startProgram(t);
      await Bun.sleep(300 + Math.random() * 300);
      program.kill("SIGKILL");
      await program.exited;
    }
    await writing;
    expect(kills).toBeGreaterThan(3);
    tail(t);
    const numbers = new Map<number, number>();
    const complete = async () => {
      const changes = await changesOf(t, "t", 8);
      numbers.clear();
      for (const { after } of changes) {
        const { id, n } = after as { id: number; n: number };
        const highest = numbers.get(id) ?? -1;
        // A repetition starts further back; a gap would skip a number.
        expect(n).toBeLessThanOrEqual(highest + 1);
        numbers.set(id, Math.max(n, highest));
      }
      return [1, 2, 3, 4].every(
        (id) => numbers.get(id) === committed.get(id) && numbers.get(id + 4) === committed.get(id),
      );
    };
    await until(t, complete, 20_000);
    expect(Math.min(...committed.values())).toBeGreaterThan(50);
  });

  test("MySQL stopping and coming back", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO t VALUES (1)");
    tail(t);
    await changesOf(t, "t", 1);
    await t.db.end();
    await t.mariadb.stop();
    await Bun.sleep(2_000);
    await t.mariadb.start();
    t.db = await connect(t);
    await t.db.query("SET GLOBAL binlog_row_metadata = FULL");
    await t.db.query("INSERT INTO t VALUES (2)");
    const changes = await changesOf(t, "t", 2, 20_000);
    expect(changes.map(({ after }) => after?.["id"])).toEqual([1, 2]);
    expect(errors(t)).toEqual([]);
    expect(t.lines.filter(({ level }) => level === "warn").length).toBeLessThanOrEqual(4);
  });

  test("Redis stopping and coming back, without losing what was written meanwhile", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO t VALUES (0)");
    const tailer = tail(t);
    await changesOf(t, "t", 1);
    await t.redis.stop();
    for (let i = 1; i < 200; i++) await t.db.query(`INSERT INTO t VALUES (${i})`);
    await Bun.sleep(2_000);
    expect(tailer.status().waiting.changes).toBeLessThan(2_100);
    await t.redis.start();
    for (let i = 200; i < 210; i++) await t.db.query(`INSERT INTO t VALUES (${i})`);
    await changesOf(t, "t", 210, 20_000);
    const ids = new Set((await changesOf(t, "t", 210)).map(({ after }) => after?.["id"]));
    expect(ids.size).toBe(210);
  });

  test("a slow event log, by holding the server back", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY, text varchar(200))");
    const gate = Promise.withResolvers<void>();
    const slow = {
      ...t.eventLog,
      publish: (records: readonly EventRecord[]) => gate.promise.then(() => t.eventLog.publish(records)),
    };
    const tailer = tail(t, slow);
    const memory = process.memoryUsage.rss();
    for (let i = 0; i < 10; i++) {
      await t.db.query(`INSERT INTO t SELECT seq + ${i * 20_000}, REPEAT('x', 200) FROM seq_1_to_20000`);
    }
    await until(t, () => tailer.status().waiting.changes > 1_000, 30_000);
    // Time enough to take what it should not.
    await Bun.sleep(500);
    expect(tailer.status().waiting.changes).toBeLessThan(4_000);
    // 200 000 rows are 45 MB in the binlog, and several times that as objects.
    expect(process.memoryUsage.rss() - memory).toBeLessThan(150_000_000);
    gate.resolve();
    await until(t, async () => (await countOf(t, "t")) >= 100_000, 30_000);
  });

  test("a server whose binlog is of no use, and says what is wrong with it", async () => {
    await t.db.query("SET GLOBAL binlog_format = STATEMENT");
    const tailer = tail(t);
    await until(t, () => t.lines.some(({ level }) => level === "warn"));
    expect(t.lines[0]?.error?.message).toBe(
      "the server's binlog cannot be read: binlog_format is STATEMENT and must be ROW",
    );
    expect(tailer.status().reading).toBe(false);
    await t.db.query("SET GLOBAL binlog_format = ROW");
    await until(t, () => tailer.status().reading);
    expect(t.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
  });
});

describe("the program", () => {
  test("follows, tells its health, and stops on SIGTERM", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO t VALUES (1)");
    const program = startProgram(t, { PORT: "0" });
    const output: { message: string; url?: string }[] = [];
    const reading = readLines(program.stdout, (line) => output.push(JSON.parse(line) as (typeof output)[number]));
    await changesOf(t, "t", 1);
    const health = await fetch(`${output.find(({ message }) => message === "listening")?.url}/healthz`);
    expect(health.status).toBe(200);
    expect(await health.json()).toMatchObject({ reading: true, waiting: { changes: 0 } });
    const startedAt = Date.now();
    program.kill("SIGTERM");
    expect(await program.exited).toBe(0);
    expect(Date.now() - startedAt).toBeLessThan(4_000);
    await reading;
  });

  test("names what is wrong with its environment", async () => {
    const program = startProgram(t, { MYSQL_URL: "mysql://127.0.0.1:3306", CDC_SERVER_ID: "0" });
    expect(await program.exited).toBe(1);
    const said = await new Response(program.stderr).text();
    expect(said).toContain("MYSQL_URL: must name the database");
    expect(said).toContain("CDC_SERVER_ID: must be a whole number from 1 to 4294967295");
  });
});

async function readLines(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const whole = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = whole.pop() ?? "";
    whole.forEach(take);
  }
}
