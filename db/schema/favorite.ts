import { bigint, index, mysqlTable, primaryKey, uniqueIndex } from "drizzle-orm/mysql-core";

/** Who likes what. Owner: the favorite service. */
export const favorites = mysqlTable(
  "favorites",
  {
    userId: bigint({ mode: "number" }).notNull(),
    videoId: bigint({ mode: "number" }).notNull(),
    /** The video's author, who is owed the like: copied here so that taking it back asks nobody. */
    authorId: bigint({ mode: "number" }).notNull(),
    /** Time-ordered: a user's likes are listed by it. */
    id: bigint({ mode: "number" }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.userId, table.videoId] }),
    uniqueIndex("favorites_list").on(table.userId, table.id),
    index("favorites_video").on(table.videoId),
  ],
);

/** Likes per video, changed in the transactions that change {@link favorites}. Owner: the favorite service. */
export const videoFavoriteCounts = mysqlTable("video_favorite_counts", {
  videoId: bigint({ mode: "number" }).primaryKey(),
  count: bigint({ mode: "number" }).notNull(),
});

/** Likes that a user has given, and that the user's videos have. Owner: the favorite service. */
export const userFavoriteCounts = mysqlTable("user_favorite_counts", {
  userId: bigint({ mode: "number" }).primaryKey(),
  favoriteCount: bigint({ mode: "number" }).notNull(),
  totalFavorited: bigint({ mode: "number" }).notNull(),
});
