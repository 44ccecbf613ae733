import {
  bigint,
  boolean,
  index,
  int,
  mysqlEnum,
  mysqlTable,
  tinyint,
  uniqueIndex,
  varchar,
} from "drizzle-orm/mysql-core";

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
    /** SHA-256 of the upload in hexadecimal digits: as its client announced it, and once ready as it was measured; empty if unknown. */
    sha256: varchar({ length: 64 }).notNull().default(""),
    /** Milliseconds since 1970 at which the upload was accepted. */
    createdAt: bigint({ mode: "number" }).notNull(),
    /** Milliseconds since 1970 at which its author deleted it; null unless deleted. */
    deletedAt: bigint({ mode: "number" }),
    /**
     * Milliseconds since 1970 at which it entered the feed; null while it is not in it. Unique, so that a time names a place in
     * the feed and paging by it can neither skip nor repeat.
     */
    feedTime: bigint({ mode: "number" }),
    /** Attempts so far. */
    jobAttempts: tinyint().notNull().default(0),
    /** Attempts that ended with a fault which might pass. */
    jobFaults: tinyint().notNull().default(0),
    /** It failed although nothing is known to be wrong with the upload: a dead letter, for operators to look at. */
    jobDead: boolean().notNull().default(false),
    /** Fencing number of the newest claim: only its holder may finish the job. */
    jobFence: int().notNull().default(0),
    /** Percent of the work that the holder of the claim has done. */
    progress: tinyint().notNull().default(0),
    /**
     * Milliseconds since 1970: of an uploaded video, when its job is due; of one in processing, when the claim lapses; of one that
     * failed, when it did; of a deleted one, when its traces are to be removed.
     */
    jobDueAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [
    uniqueIndex("videos_feed").on(table.feedTime),
    index("videos_author").on(table.authorId, table.id),
    index("videos_author_sha256").on(table.authorId, table.sha256),
    // With the author, so that work is shared out between authors by the index alone.
    index("videos_due").on(table.status, table.jobDueAt, table.authorId),
  ],
);

/**
 * Covers that authors have chosen, one row a video: the newest wish, which is also the media worker's job. Gone with the video. Owner: the
 * video service.
 */
export const videoCovers = mysqlTable(
  "video_covers",
  {
    /** Of the video. */
    id: bigint({ mode: "number" }).primaryKey(),
    authorId: bigint({ mode: "number" }).notNull(),
    /** The moment of the video that the cover is to show. */
    timeMs: bigint({ mode: "number" }).notNull(),
    /** As of a video; the one before stays in place unless it is ready. */
    status: mysqlEnum(["uploaded", "processing", "ready", "failed"]).notNull(),
    /** Why it failed, for the author. */
    statusReason: text4(255).notNull().default(""),
    /** Object key of the rendition that it is cut out of. */
    rawKey: varchar({ length: 255 }).notNull(),
    /** Milliseconds since 1970 after which pictures that nobody shows any more are to be removed; null when there are none. */
    tidyAt: bigint({ mode: "number" }),
    /** As in the table of videos. A new wish raises the number, too: whoever works on the one before finds the claim lost. */
    jobAttempts: tinyint().notNull().default(0),
    jobFaults: tinyint().notNull().default(0),
    jobDead: boolean().notNull().default(false),
    jobFence: int().notNull().default(0),
    jobDueAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [
    index("video_covers_due").on(table.status, table.jobDueAt, table.authorId),
    index("video_covers_tidy").on(table.tidyAt),
  ],
);

/** Uploads of videos in parts. One that was completed stays until it expires, for clients who ask again. Owner: the video service. */
export const uploads = mysqlTable(
  "uploads",
  {
    /** Also the id of the video that comes of it. */
    id: bigint({ mode: "number" }).primaryKey(),
    authorId: bigint({ mode: "number" }).notNull(),
    title: text4(100).notNull(),
    /** What its client has announced. */
    size: bigint({ mode: "number" }).notNull(),
    contentType: varchar({ length: 32 }).notNull(),
    sha256: varchar({ length: 64 }).notNull(),
    /** Bytes of every part but the last. */
    partBytes: int().notNull(),
    rawKey: varchar({ length: 255 }).notNull(),
    /** The object store's name for it. */
    storeUploadId: varchar({ length: 255 }).notNull(),
    /** The video once it is completed: its own, or an earlier one of the same author from the same file. 0 before. */
    videoId: bigint({ mode: "number" }).notNull().default(0),
    /** Milliseconds since 1970. */
    createdAt: bigint({ mode: "number" }).notNull(),
    /** Milliseconds since 1970 after which it is swept; 0 once that has begun. */
    expiresAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [index("uploads_author").on(table.authorId, table.sha256), index("uploads_expiry").on(table.expiresAt)],
);

/** Videos per author that are neither failed nor deleted, kept in the transactions that change them. Owner: the video service. */
export const workCounts = mysqlTable("work_counts", {
  userId: bigint({ mode: "number" }).primaryKey(),
  count: bigint({ mode: "number" }).notNull(),
});
