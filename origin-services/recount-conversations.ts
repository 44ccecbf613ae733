import type { Database, Transaction } from "@flick/db/client.ts";
import { conversations, messages } from "@flick/db/schema/message.ts";
import { transact } from "@flick/db/transaction.ts";
import { sql, type SQL } from "drizzle-orm";

import { select } from "./recount.ts";

/** A conversation by its two people, the smaller id first. */
export interface Pair {
  lowId: number;
  highId: number;
}

/** The next conversations, in their order, that have a row of their own or a message. */
export async function nextPairs(db: Database, after: Pair, limit: number): Promise<Pair[]> {
  const beyond = sql`(low_id > ${after.lowId} OR (low_id = ${after.lowId} AND high_id > ${after.highId}))`;
  const parts = [conversations, messages].map(
    (table) =>
      sql`(SELECT DISTINCT low_id, high_id FROM ${table} WHERE ${beyond} ORDER BY low_id, high_id LIMIT ${limit})`,
  );
  return toPairs(
    await select(
      db,
      sql`SELECT low_id, high_id FROM (${sql.join(parts, sql` UNION `)}) found ORDER BY low_id, high_id LIMIT ${limit}`,
    ),
  );
}

/** Which of these conversations do not show their newest message. One statement, and so one moment. */
export async function staleConversations(db: Database, pairs: readonly Pair[]): Promise<Pair[]> {
  if (pairs.length === 0) return [];
  const differs = sql`c.last_id <> m.id OR c.last_from_id <> m.from_id OR c.last_content <> m.content OR c.last_time <> m.create_time`;
  const wrong = sql`SELECT m.low_id, m.high_id FROM ${newestOf(pairs)} LEFT JOIN ${conversations} c
    ON c.low_id = m.low_id AND c.high_id = m.high_id WHERE c.low_id IS NULL OR ${differs}`;
  const empty = sql`SELECT c.low_id, c.high_id FROM ${conversations} c WHERE ${isIn(pairs, "c")} AND ${hasNoMessages("c")}`;
  return toPairs(await select(db, sql`${wrong} UNION ALL ${empty}`));
}

/**
 * Makes these conversations show their newest message, and removes those without any. They are locked first, as senders do,
 * so that nothing is sent meanwhile.
 */
export async function mendConversations(db: Database, pairs: readonly Pair[]): Promise<void> {
  await transact(db, async (tx: Transaction) => {
    await tx
      .insert(conversations)
      .values(pairs.map((pair) => ({ ...pair, lastId: 0, lastFromId: 0, lastContent: "", lastTime: 0 })))
      .onDuplicateKeyUpdate({ set: { lastId: sql`${conversations.lastId}` } });
    const columns = ["last_id", "last_from_id", "last_content", "last_time"].map((name) => sql.identifier(name));
    const taken = columns.map((column) => sql`${column} = VALUES(${column})`);
    await tx.execute(sql`INSERT INTO ${conversations} (low_id, high_id, ${sql.join(columns, sql`, `)})
      SELECT m.low_id, m.high_id, m.id, m.from_id, m.content, m.create_time FROM ${newestOf(pairs)}
      ON DUPLICATE KEY UPDATE ${sql.join(taken, sql`, `)}`);
    await tx.execute(
      sql`DELETE FROM ${conversations} WHERE ${isIn(pairs, "conversations")} AND ${hasNoMessages("conversations")}`,
    );
  });
}

/** To select from: the newest message of each, as `m`. */
function newestOf(pairs: readonly Pair[]): SQL {
  return sql`(SELECT low_id, high_id, MAX(create_time) AS create_time FROM ${messages} WHERE ${isIn(pairs, "messages")}
    GROUP BY low_id, high_id) newest JOIN ${messages} m
    ON m.low_id = newest.low_id AND m.high_id = newest.high_id AND m.create_time = newest.create_time`;
}

function hasNoMessages(table: string): SQL {
  const of = sql.identifier(table);
  return sql`NOT EXISTS (SELECT 1 FROM ${messages} x WHERE x.low_id = ${of}.low_id AND x.high_id = ${of}.high_id)`;
}

function isIn(pairs: readonly Pair[], table: string): SQL {
  const of = sql.identifier(table);
  const list = pairs.map(({ lowId, highId }) => sql`(${lowId}, ${highId})`);
  return sql`(${of}.low_id, ${of}.high_id) IN (${sql.join(list, sql`, `)})`;
}

const toPairs = (rows: Record<string, unknown>[]): Pair[] =>
  rows.map((row) => ({ lowId: Number(row["low_id"]), highId: Number(row["high_id"]) }));
