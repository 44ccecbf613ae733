import { bigint, mysqlTable, primaryKey, uniqueIndex } from "drizzle-orm/mysql-core";

/** Who follows whom. Owner: the relation service. */
export const follows = mysqlTable(
  "follows",
  {
    followerId: bigint({ mode: "number" }).notNull(),
    followeeId: bigint({ mode: "number" }).notNull(),
    /** Time-ordered: both lists are ordered by it. */
    id: bigint({ mode: "number" }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.followerId, table.followeeId] }),
    uniqueIndex("follows_following").on(table.followerId, table.id),
    uniqueIndex("follows_followers").on(table.followeeId, table.id),
  ],
);

/** Changed in the transactions that change {@link follows}. Owner: the relation service. */
export const followCounts = mysqlTable("follow_counts", {
  userId: bigint({ mode: "number" }).primaryKey(),
  followCount: bigint({ mode: "number" }).notNull(),
  followerCount: bigint({ mode: "number" }).notNull(),
});
