import { bigint, index, mysqlTable } from "drizzle-orm/mysql-core";

import { text4 } from "./columns.ts";

/** Owner: the comment service. */
export const comments = mysqlTable(
  "comments",
  {
    /** Time-ordered: a video's comments are listed by it. */
    id: bigint({ mode: "number" }).primaryKey(),
    videoId: bigint({ mode: "number" }).notNull(),
    userId: bigint({ mode: "number" }).notNull(),
    content: text4(500).notNull(),
    /** Milliseconds since 1970. */
    createdAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [index("comments_video").on(table.videoId, table.id)],
);

/** Comments per video, changed in the transactions that change {@link comments}. Owner: the comment service. */
export const videoCommentCounts = mysqlTable("video_comment_counts", {
  videoId: bigint({ mode: "number" }).primaryKey(),
  count: bigint({ mode: "number" }).notNull(),
});
