import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { startFreezingProxy } from "@flick/dev/freezing-proxy.ts";
import { testServers } from "@flick/dev/testing.ts";
import { eq, sql } from "drizzle-orm";

import { connectDatabase, type Database } from "./client.ts";
import { databaseFault, withoutValues } from "./errors.ts";
import { migrate } from "./migrate.ts";
import { users } from "./schema/user.ts";
import { workCounts } from "./schema/video.ts";
import { createTestDatabase } from "./testing.ts";
import { transact } from "./transaction.ts";

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let db: Database;
beforeAll(async () => {
  database = await createTestDatabase((await testServers()).mysqlUrl);
  db = database.db;
});
afterAll(() => database.drop());

const faultOf = (work: Promise<unknown>) =>
  work.then(
    () => "none",
    (error: unknown) => databaseFault(error),
  );

const user = (id: number, name: string) => ({ id, name, nameKey: name, passwordHash: "a secret hash", createdAt: 1 });

describe("migrate", () => {
  test("may run again, and by several programs at once", async () => {
    await Promise.all(Array.from({ length: 4 }, () => migrate(database.url)));
    expect(await db.$count(users)).toBe(0);
  });

  test("refuses a database name that is none", async () => {
    await expect(migrate("mysql://127.0.0.1:1/bad-name;")).rejects.toThrow("1 to 64 letters, digits or _");
  });

  test("says so when there is no server", async () => {
    await expect(migrate("mysql://127.0.0.1:1/flick")).rejects.toThrow();
  });
});

describe("the pool", () => {
  test("keeps ids of 53 bits and characters of four bytes as they are", async () => {
    await db.insert(users).values(user(Number.MAX_SAFE_INTEGER, "𠮷🎬"));
    const [row] = await db.select().from(users).where(eq(users.nameKey, "𠮷🎬"));
    expect(row).toMatchObject({ id: Number.MAX_SAFE_INTEGER, name: "𠮷🎬" });
  });

  test("does without connections on which the server is silent, in a transaction or not, and not without idle ones", async () => {
    const proxy = await startFreezingProxy(database.url);
    const silent = connectDatabase({ url: proxy.url, connections: 3, silenceMs: 400 });
    const ask = () => silent.db.execute(sql`SELECT 1`);
    const askInTransaction = () => silent.db.transaction((tx) => tx.execute(sql`SELECT 1`));
    try {
      await Promise.all([ask(), ask(), askInTransaction()]);
      expect(proxy.connections()).toBe(3);
      await Bun.sleep(1_000);
      await Promise.all([ask(), ask(), askInTransaction()]);
      expect(proxy.connections()).toBe(3);
      proxy.freeze();
      const faults = await Promise.all([ask, ask, askInTransaction].map((each) => faultOf(each())));
      expect(faults).toEqual(["unavailable", "unavailable", "unavailable"]);
      await Promise.all([ask(), ask(), askInTransaction()]);
      expect(proxy.connections()).toBe(6);
    } finally {
      proxy.stop();
      await silent.close();
    }
  });

  test("sets its limits in every session", async () => {
    // MariaDB and MySQL have different names for the isolation level.
    const [rows] = await db.execute(
      sql`SHOW SESSION VARIABLES WHERE variable_name RLIKE '^(innodb_lock_wait_timeout|.*isolation)$'`,
    );
    expect(JSON.stringify(rows)).toContain('"Value":"5"');
    expect(JSON.stringify(rows)).toContain('"Value":"READ-COMMITTED"');
  });

  test("stops a statement that takes longer than 5 s", async () => {
    const columns = sql`information_schema.columns`;
    const endless = sql`SELECT COUNT(*) FROM ${columns} a, ${columns} b, ${columns} c WHERE a.table_name <> b.column_name`;
    expect(await faultOf(db.execute(endless))).toBe("timeout");
  }, 15_000);

  test("refuses at once what does not fit into its queue", async () => {
    const small = connectDatabase({ url: database.url, connections: 1 });
    const faults = await Promise.all(
      Array.from({ length: 40 }, () => faultOf(small.db.execute(sql`SELECT SLEEP(0.01)`))),
    );
    expect(faults.filter((fault) => fault === "busy")).toHaveLength(40 - 1 - 32);
    expect(faults.filter((fault) => fault === "none")).toHaveLength(33);
    await small.close();
  });
});

describe("faults", () => {
  test("a duplicate is told from a bad statement and from a server that is away", async () => {
    await db.insert(users).values(user(1, "taken"));
    expect(await faultOf(db.insert(users).values(user(2, "taken")))).toBe("duplicate");
    expect(await faultOf(db.execute(sql`SELECT rubbish`))).toBeNull();
    const away = connectDatabase({ url: "mysql://127.0.0.1:1/flick" });
    expect(await faultOf(away.db.execute(sql`SELECT 1`))).toBe("unavailable");
    await away.close();
  });

  test("their loggable form has no values in it", async () => {
    const error = await db.insert(users).values(user(3, "taken")).catch(withoutValues);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).toContain("insert into `users`");
    expect((error as Error).message).not.toContain("a secret hash");
  });
});

test("transactions that deadlock are run again until all of them are done", async () => {
  const rounds = 20;
  for (const userId of [1, 2]) await db.insert(workCounts).values({ userId, count: 0 });
  const add = (order: number[]) =>
    transact(db, async (tx) => {
      for (const userId of order) {
        await tx
          .update(workCounts)
          .set({ count: sql`${workCounts.count} + 1` })
          .where(eq(workCounts.userId, userId));
      }
    });
  for (let round = 0; round < rounds; round++) await Promise.all([add([1, 2]), add([2, 1])]);
  const counts = await db.select().from(workCounts);
  expect(counts.map((row) => row.count)).toEqual([2 * rounds, 2 * rounds]);
});
