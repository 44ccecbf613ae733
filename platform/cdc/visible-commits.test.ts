import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";

import type { Connection, RowDataPacket } from "mysql2/promise";

import type { EventLog } from "../event-log/event-log.ts";
import { decodeChange, type Change } from "./change-event.ts";
import { changesOf, connect, setUpCdcTests, tail, until } from "./testing.ts";

setDefaultTimeout(60_000);
const t = setUpCdcTests();

describe("a change is published when the database shows it, and no earlier:", () => {
  let other: Connection;
  beforeEach(async () => {
    other = await connect(t);
    await t.db.query("CREATE TABLE t (id int PRIMARY KEY, text varchar(5000))");
    await t.db.query("INSERT INTO t VALUES (1, ''), (2, '')");
  });
  afterEach(async () => {
    await commitsWait(0);
    await t.db.query("SET GLOBAL max_binlog_size = 1048576");
    await other.end();
  });

  test("a commit that is logged and waits for a replica is held back", async () => {
    const found: unknown[] = [];
    tail(
      t,
      atPublication(async ({ op, before, after }) => void found.push([op, await textOf((after ?? before)?.["id"])])),
    );
    await changesOf(t, "t", 2);
    await commitsWait(1_000);
    const logged = await binlogEnd();
    const writing = t.db.query("UPDATE t SET text = 'new' WHERE id = 1");
    await until(t, async () => (await binlogEnd()) > logged);
    expect(await textOf(1)).toBe("");
    expect(found).toHaveLength(2);
    await writing;
    await t.db.query("DELETE FROM t WHERE id = 2");
    await changesOf(t, "t", 4);
    expect(found.slice(2)).toEqual([
      ["u", "new"],
      ["d", undefined],
    ]);
  });

  test("so is the last one of a file of the log, though the next file has begun", async () => {
    const found: unknown[] = [];
    tail(
      t,
      atPublication(async ({ after }) => void found.push((await textOf(after?.["id"])) === after?.["text"])),
    );
    await changesOf(t, "t", 2);
    await t.db.query("SET GLOBAL max_binlog_size = 4096");
    for (let i = 0; i < 5; i++) {
      await commitsWait(50);
      await t.db.query("INSERT INTO t VALUES (?, REPEAT('x', 5000))", [3 + i]);
    }
    await changesOf(t, "t", 7);
    expect(found).toEqual(Array<boolean>(7).fill(true));
  });

  async function textOf(id: unknown): Promise<unknown> {
    const [rows] = await other.query<RowDataPacket[]>("SELECT text FROM t WHERE id = ?", [id]);
    return rows[0]?.["text"];
  }

  async function binlogEnd(): Promise<number> {
    const [rows] = await other.query<RowDataPacket[]>("SHOW MASTER STATUS");
    return Number(rows[0]?.["Position"]);
  }
});

/** The test's event log; before changes are published to it, `look` sees each of them. */
function atPublication(look: (change: Change) => Promise<void>): EventLog {
  return {
    ...t.eventLog,
    async publish(records) {
      const changes = records.filter(({ topic }) => topic === "cdc.t").map(({ value }) => decodeChange(value));
      // The last ones are the youngest.
      for (const change of changes.toReversed()) await look(change);
      await t.eventLog.publish(records);
    },
  };
}

/**
 * The next commit waits so many milliseconds for a replica, of which there is none: after it is logged and before others see it. With
 * 0 none does.
 */
async function commitsWait(ms: number): Promise<void> {
  await t.db.query("SET GLOBAL rpl_semi_sync_master_enabled = OFF");
  if (ms === 0) return;
  await t.db.query("SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC");
  await t.db.query("SET GLOBAL rpl_semi_sync_master_timeout = ?", [ms]);
  await t.db.query("SET GLOBAL rpl_semi_sync_master_enabled = ON");
}
