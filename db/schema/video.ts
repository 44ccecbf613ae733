import { bigint, index, int, mysqlEnum, mysqlTable, tinyint, uniqueIndex, varchar } from "drizzle-orm/mysql-core";

import { text4 } from "./columns.ts";

/** Videos; a row is also the media worker's job. Owner: the video service. */
export const videos = mysqlTable(
  "videos",
  {
    id: bigint({ mode: "number" }).primaryKey(),
    authorId: bigint({ mode: "number" }).notNull(),
    title: text4(100).notNull(),
    status: mysqlEnum(["uploaded", "processing", "ready", "failed", "deleted"]).notNull(),
    /** Why it failed, for its author. */
    statusReason: text4(255).notNull().default(""),
    /** Object keys: the upload, and what was made of it (empty until ready). */
    rawKey: varchar({ length: 255 }).notNull(),
    playKey: varchar({ length: 255 }).notNull().default(""),
    coverKey: varchar({ length: 255 }).notNull().default(""),
    hlsKey: varchar({ length: 255 }).notNull().default(""),
    previewKey: varchar({ length: 255 }).notNull().default(""),
    /** JSON lists of what there is beside them, with object keys; `origin-services/video/outputs.ts` writes and reads them. */
    renditions: varchar({ length: 2000 }).notNull().default(""),
    covers: varchar({ length: 2000 }).notNull().default(""),
    /** ThumbHash of the cover, base64. */
    thumbhash: varchar({ length: 64 }).notNull().default(""),
    /** The moment that the cover shows. */
    coverTimeMs: bigint({ mode: "number" }).notNull().default(0),
    width: int().notNull().default(0),
    height: int().notNull().default(0),
    durationMs: bigint({ mode: "number" }).notNull().default(0),
    /** Milliseconds since 1970 at which the upload was accepted. */
    createdAt: bigint({ mode: "number" }).notNull(),
    /**
     * Milliseconds since 1970 at which it entered the feed; null while it is not in it. Unique, so that a time names a place in
     * the feed and paging by it can neither skip nor repeat.
     */
    feedTime: bigint({ mode: "number" }),
    /** Attempts so far. */
    jobAttempts: tinyint().notNull().default(0),
    /** Fencing number of the newest claim: only its holder may finish the job. */
    jobFence: int().notNull().default(0),
    /** Percent of the work that the holder of the claim has done. */
    progress: tinyint().notNull().default(0),
    /** Milliseconds since 1970: of an uploaded video, when its job is due; of one in processing, when the claim lapses. */
    jobDueAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [
    uniqueIndex("videos_feed").on(table.feedTime),
    index("videos_author").on(table.authorId, table.id),
    index("videos_due").on(table.status, table.jobDueAt),
  ],
);

/** Videos per author that are neither failed nor deleted, kept in the transactions that change them. Owner: the video service. */
export const workCounts = mysqlTable("work_counts", {
  userId: bigint({ mode: "number" }).primaryKey(),
  count: bigint({ mode: "number" }).notNull(),
});
