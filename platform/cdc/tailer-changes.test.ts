import { describe, expect, test } from "bun:test";

import { decodeChange } from "./change-event.ts";
import { changesOf, recordsOf, setUpCdcTests, tail, topicsOf } from "./testing.ts";

const t = setUpCdcTests();

describe("what the tailer publishes", () => {
  test("is every insert, update and delete with its images, under the primary key", async () => {
    await t.db.query("CREATE TABLE t (id bigint PRIMARY KEY, name varchar(50))");
    await t.db.query("INSERT INTO t VALUES (1, 'a')");
    await t.db.query("UPDATE t SET name = 'b' WHERE id = 1");
    await t.db.query("DELETE FROM t WHERE id = 1");
    tail(t);
    const records = await recordsOf(t, "t", 3);
    const changes = records.map(({ value }) => decodeChange(value));
    expect(changes.map(({ op, before, after }) => ({ op, before, after }))).toEqual([
      { op: "c", before: null, after: { id: 1, name: "a" } },
      { op: "u", before: { id: 1, name: "a" }, after: { id: 1, name: "b" } },
      { op: "d", before: { id: 1, name: "b" }, after: null },
    ]);
    expect(records.map(({ key }) => key)).toEqual(["1", "1", "1"]);
    const [first] = records.map(({ value }) => JSON.parse(value) as Record<string, unknown>);
    expect(first).toMatchObject({
      source: {
        connector: "mysql",
        db: t.database,
        table: "t",
        file: expect.stringContaining("binlog."),
        pos: expect.any(Number),
        row: 0,
      },
      ts_ms: expect.any(Number),
    });
    for (const { tsMs } of changes) expect(Math.abs((tsMs ?? 0) - Date.now())).toBeLessThan(30_000);
  });

  test.each(["FULL", "NO_LOG"])("keeps values of all kinds, with binlog_row_metadata=%s", async (metadata) => {
    await t.db.query(`SET GLOBAL binlog_row_metadata = ${metadata}`);
    await t.db.query(`CREATE TABLE t (
      id bigint PRIMARY KEY, big bigint, huge bigint unsigned, tiny tinyint NOT NULL, flag boolean,
      state enum('uploaded','ready','très bien') NOT NULL, title varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
      body text CHARACTER SET utf8mb4, price decimal(10,2), at datetime(3), raw varbinary(8), doc json, nothing int)`);
    await t.db.query("SET time_zone = '+00:00'");
    const insert = "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    const bytes = Buffer.from([0, 255, 10]);
    const title = "🎬👩‍👩‍👧 你好 'quoted' \\ \n";
    const at = "2026-01-02 03:04:05.678";
    await t.db.query(insert, [
      "9007199254740993",
      "-9223372036854775808",
      "18446744073709551615",
      -128,
      true,
      "très bien",
      title,
      title,
      "-12.30",
      at,
      bytes,
      '{"a":[1]}',
      null,
    ]);
    await t.db.query(insert, [
      2,
      "9007199254740991",
      0,
      127,
      false,
      "uploaded",
      "",
      null,
      null,
      null,
      null,
      null,
      null,
    ]);
    tail(t);
    const changes = await changesOf(t, "t", 2);
    expect(changes.map(({ after }) => after)).toEqual([
      {
        id: "9007199254740993",
        big: "-9223372036854775808",
        huge: "18446744073709551615",
        tiny: -128,
        flag: 1,
        state: "très bien",
        title,
        body: title,
        price: "-12.30",
        at,
        raw: bytes.toString("base64"),
        doc: '{"a":[1]}',
        nothing: null,
      },
      {
        id: 2,
        big: 9_007_199_254_740_991,
        huge: 0,
        tiny: 127,
        flag: 0,
        state: "uploaded",
        title: "",
        body: null,
        price: null,
        at: null,
        raw: null,
        doc: null,
        nothing: null,
      },
    ]);
    expect((await recordsOf(t, "t", 2)).map(({ key }) => key)).toEqual(["9007199254740993", "2"]);
  });

  test.each(["FULL", "NO_LOG"])("is keyed by all key columns, with binlog_row_metadata=%s", async (metadata) => {
    await t.db.query(`SET GLOBAL binlog_row_metadata = ${metadata}`);
    await t.db.query("CREATE TABLE likes (at int, video bigint, user bigint, PRIMARY KEY (user, video))");
    await t.db.query("CREATE TABLE keyless (a int)");
    await t.db.query("CREATE TABLE long_key (a varchar(300) PRIMARY KEY)");
    await t.db.query("INSERT INTO likes VALUES (5, 10, 20)");
    await t.db.query("INSERT INTO keyless VALUES (1), (2)");
    await t.db.query("INSERT INTO long_key VALUES (?)", ["x".repeat(300)]);
    tail(t);
    expect((await recordsOf(t, "likes", 1)).map(({ key }) => key)).toEqual(["20:10"]);
    expect((await recordsOf(t, "keyless", 2)).map(({ key }) => key)).toEqual(["keyless", "keyless"]);
    expect((await recordsOf(t, "long_key", 1))[0]?.key).toMatch(/^[0-9a-f]{64}$/);
  });

  test("tells a changed key as the end of one row and the beginning of another", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY, name varchar(50))");
    await t.db.query("INSERT INTO t VALUES (1, 'a')");
    await t.db.query("UPDATE t SET id = 2");
    tail(t);
    const records = await recordsOf(t, "t", 3);
    expect(records.map(({ key, value }) => `${key} ${decodeChange(value).op}`)).toEqual(["1 c", "1 d", "2 c"]);
  });

  test("follows the columns and the key of a table that is altered", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY, name varchar(50))");
    await t.db.query("INSERT INTO t VALUES (1, 'a')");
    await t.db.query("ALTER TABLE t ADD COLUMN age int NOT NULL DEFAULT 7 FIRST");
    tail(t);
    await changesOf(t, "t", 1);
    await t.db.query("INSERT INTO t VALUES (8, 2, 'b')");
    await t.db.query("ALTER TABLE t DROP COLUMN name, DROP PRIMARY KEY, ADD PRIMARY KEY (age)");
    await t.db.query("INSERT INTO t VALUES (9, 3)");
    const records = await recordsOf(t, "t", 3);
    expect(records.map(({ value }) => decodeChange(value).after)).toEqual([
      { id: 1, name: "a" },
      { age: 8, id: 2, name: "b" },
      { age: 9, id: 3 },
    ]);
    expect(records.map(({ key }) => key)).toEqual(["1", "2", "9"]);
  });

  test("leaves out other databases, the migrations, and what was rolled back", async () => {
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY) ENGINE=InnoDB");
    await t.db.query("CREATE TABLE __drizzle_migrations (id int PRIMARY KEY)");
    await t.db.query(`CREATE DATABASE ${t.database}_2`);
    await t.db.query(`CREATE TABLE ${t.database}_2.t (id int PRIMARY KEY)`);
    await t.db.query("INSERT INTO __drizzle_migrations VALUES (1)");
    await t.db.query(`INSERT INTO ${t.database}_2.t VALUES (1)`);
    await t.db.query("BEGIN");
    await t.db.query("INSERT INTO t VALUES (1), (2)");
    await t.db.query("ROLLBACK");
    await t.db.query("BEGIN");
    await t.db.query("INSERT INTO t VALUES (3)");
    await t.db.query("SAVEPOINT s");
    await t.db.query("INSERT INTO t VALUES (4)");
    await t.db.query("ROLLBACK TO s");
    await t.db.query(`INSERT INTO ${t.database}_2.t VALUES (5)`);
    await t.db.query("INSERT INTO t VALUES (6)");
    await t.db.query("COMMIT");
    tail(t);
    const changes = await changesOf(t, "t", 2);
    expect(changes.map(({ after }) => after?.["id"])).toEqual([3, 6]);
    expect(await topicsOf(t)).toEqual(["cdc.offsets", "cdc.t"]);
  });

  test("skips a table that is gone when the log does not tell its columns, says so, and goes on", async () => {
    await t.db.query("SET GLOBAL binlog_row_metadata = NO_LOG");
    await t.db.query("CREATE TABLE gone (id int PRIMARY KEY)");
    await t.db.query("CREATE TABLE shrunk (id int PRIMARY KEY, a int, b int)");
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY)");
    await t.db.query("INSERT INTO gone VALUES (1)");
    await t.db.query("INSERT INTO shrunk VALUES (1, 2, 3)");
    await t.db.query("INSERT INTO t VALUES (1)");
    await t.db.query("DROP TABLE gone");
    await t.db.query("ALTER TABLE shrunk DROP COLUMN b");
    await t.db.query("INSERT INTO shrunk VALUES (2, 2)");
    tail(t);
    await changesOf(t, "t", 1);
    const changes = await changesOf(t, "shrunk", 1);
    expect(changes.map(({ after }) => after)).toEqual([{ id: 2, a: 2 }]);
    expect(t.lines.filter(({ level }) => level === "error").map(({ error }) => error?.message)).toEqual([
      expect.stringContaining(`${t.database}.gone`),
      expect.stringContaining(`${t.database}.shrunk`),
    ]);
  });
});
