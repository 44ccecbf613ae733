import type { Database, Transaction } from "@flick/db/client.ts";
import { addCounts, CountChanges } from "@flick/db/counts.ts";
import { comments, videoCommentCounts } from "@flick/db/schema/comment.ts";
import { favorites, userFavoriteCounts, videoFavoriteCounts } from "@flick/db/schema/favorite.ts";
import { followCounts, follows } from "@flick/db/schema/relation.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { sql, type SQL } from "drizzle-orm";
import type { MySqlColumn, MySqlTable } from "drizzle-orm/mysql-core";

/** A table of counters and, for each counter, the rows that it must equal the number of. */
export interface CountTable {
  table: MySqlTable;
  key: { property: string; column: MySqlColumn };
  counters: { property: string; column: MySqlColumn; counts: Facts }[];
}

/** Rows, and the column that says whose counter each belongs to. */
interface Facts {
  from: SQL;
  by: MySqlColumn;
  where?: SQL;
}

const ofUser = { property: "userId" };
const ofVideo = { property: "videoId" };

export const countTables: readonly CountTable[] = [
  {
    table: workCounts,
    key: { ...ofUser, column: workCounts.userId },
    counters: [
      {
        property: "count",
        column: workCounts.count,
        counts: {
          from: sql`${videos}`,
          by: videos.authorId,
          where: sql`${videos.status} NOT IN ('failed', 'deleted')`,
        },
      },
    ],
  },
  {
    table: videoFavoriteCounts,
    key: { ...ofVideo, column: videoFavoriteCounts.videoId },
    counters: [
      {
        property: "count",
        column: videoFavoriteCounts.count,
        counts: { from: sql`${favorites}`, by: favorites.videoId },
      },
    ],
  },
  {
    table: userFavoriteCounts,
    key: { ...ofUser, column: userFavoriteCounts.userId },
    counters: [
      {
        property: "favoriteCount",
        column: userFavoriteCounts.favoriteCount,
        counts: { from: sql`${favorites}`, by: favorites.userId },
      },
      {
        property: "totalFavorited",
        column: userFavoriteCounts.totalFavorited,
        // By way of the author's videos, because favorites have no index by author; a video's row goes after its likes.
        counts: {
          from: sql`${videos} JOIN ${favorites} ON ${favorites.videoId} = ${videos.id}`,
          by: videos.authorId,
        },
      },
    ],
  },
  {
    table: videoCommentCounts,
    key: { ...ofVideo, column: videoCommentCounts.videoId },
    counters: [
      { property: "count", column: videoCommentCounts.count, counts: { from: sql`${comments}`, by: comments.videoId } },
    ],
  },
  {
    table: followCounts,
    key: { ...ofUser, column: followCounts.userId },
    counters: [
      {
        property: "followCount",
        column: followCounts.followCount,
        counts: { from: sql`${follows}`, by: follows.followerId },
      },
      {
        property: "followerCount",
        column: followCounts.followerCount,
        counts: { from: sql`${follows}`, by: follows.followeeId },
      },
    ],
  },
];

/** The next ids, in their order, that have a counter or a row that one should count. */
export async function nextIds(db: Database, table: CountTable, after: number, limit: number): Promise<number[]> {
  const sources = [
    { from: sql`${table.table}`, by: table.key.column },
    ...table.counters.map((counter): Facts => counter.counts),
  ];
  const parts = sources.map(({ from, by, where }: Facts) => {
    const which = where ? sql`${by} > ${after} AND ${where}` : sql`${by} > ${after}`;
    return sql`(SELECT DISTINCT ${by} AS id FROM ${from} WHERE ${which} ORDER BY ${by} LIMIT ${limit})`;
  });
  const rows = await select(
    db,
    sql`SELECT id FROM (${sql.join(parts, sql` UNION `)}) found ORDER BY id LIMIT ${limit}`,
  );
  return rows.map((row) => Number(row["id"]));
}

/**
 * Which of these ids have a counter that is not the number of its rows, and by how much each is above it. One statement, and so
 * one moment: writers at work make no difference seem to be there.
 */
export async function differences(
  db: Database | Transaction,
  { table, key, counters }: CountTable,
  ids: readonly number[],
): Promise<CountChanges<string>> {
  const excess = new CountChanges<string>();
  if (ids.length === 0) return excess;
  const list = sql.join(
    ids.map((id) => sql`${id}`),
    sql`, `,
  );
  const names = counters.map((_, index) => sql.identifier(`c${index}`));
  const stored = names.map((name, index) => sql`${counters[index]?.column} AS ${name}`);
  const parts = [
    sql`SELECT ${key.column} AS id, ${sql.join(stored, sql`, `)} FROM ${table} WHERE ${key.column} IN (${list})`,
  ];
  for (const [index, { counts }] of counters.entries()) {
    const counted = counters.map((_, other) => (other === index ? sql`-COUNT(*)` : sql`0`));
    const which = counts.where ? sql` AND ${counts.where}` : sql``;
    parts.push(
      sql`SELECT ${counts.by}, ${sql.join(counted, sql`, `)} FROM ${counts.from} WHERE ${counts.by} IN (${list})${which} GROUP BY ${counts.by}`,
    );
  }
  const sums = names.map((name) => sql`SUM(${name}) AS ${name}`);
  const rows = await select(
    db,
    sql`SELECT id, ${sql.join(sums, sql`, `)} FROM (${sql.join(parts, sql` UNION ALL `)}) counted GROUP BY id`,
  );
  for (const row of rows) {
    for (const [index, { property }] of counters.entries())
      excess.add(Number(row["id"]), property, Number(row[`c${index}`]));
  }
  return excess;
}

/**
 * Sets the counters of these ids to the numbers of their rows. The counters are locked first: whoever adds a row changes its
 * counter in the same transaction, so that each row is either visible already or its transaction has yet to pass the lock.
 */
export async function mend(db: Database, table: CountTable, ids: readonly number[]): Promise<void> {
  const properties = table.counters.map(({ property }) => property);
  await transact(db, async (tx) => {
    const zeros = ids.map((id) => ({
      [table.key.property]: id,
      ...Object.fromEntries(properties.map((name) => [name, 0])),
    }));
    const unchanged = { [table.key.property]: table.key.column };
    await tx.insert(table.table).values(zeros).onDuplicateKeyUpdate({ set: unchanged });
    const corrections = new CountChanges<string>();
    for (const [id, excess] of (await differences(tx, table, ids)).entries()) {
      for (const [property, amount] of excess) corrections.add(id, property, -amount);
    }
    await addCounts(tx, table.table, table.key.property, properties, corrections);
  });
}

/** The rows that a query written by hand gives. */
export async function select(db: Database | Transaction, query: SQL): Promise<Record<string, unknown>[]> {
  const [rows]: [unknown, unknown] = await db.execute(query);
  return rows as Record<string, unknown>[];
}
