import { videoCovers, videos } from "@flick/db/schema/video.ts";
import { and, desc, eq, inArray, ne, sql, type SQL } from "drizzle-orm";

import type { Context } from "../context.ts";

/** How far a video is, for its author. */
export interface PublishState {
  id: number;
  status: (typeof videos.$inferSelect)["status"];
  percent: number;
  reason: string;
  /** Of the cover that was chosen: empty when none was. */
  coverStatus: "" | "processing" | "ready" | "failed";
  /** The moment that was chosen last, else the one that is shown. */
  coverTimeMs: number;
  coverReason: string;
}

/** Those among an author's videos, deleted ones included, that are there, in no particular order. */
export function findStates(db: Context["db"], authorId: number, ids: number[]): Promise<PublishState[]> {
  return read(db, inArray(videos.id, ids), authorId, ids.length);
}

/** An author's newest videos, newest first. */
export function findNewestStates(db: Context["db"], authorId: number, limit: number): Promise<PublishState[]> {
  return read(db, ne(videos.status, "deleted"), authorId, limit);
}

async function read(
  db: Context["db"],
  condition: SQL | undefined,
  authorId: number,
  limit: number,
): Promise<PublishState[]> {
  const rows = await db
    .select(columns)
    .from(videos)
    .leftJoin(videoCovers, eq(videoCovers.id, videos.id))
    .where(and(condition, eq(videos.authorId, authorId)))
    .orderBy(desc(videos.id))
    .limit(limit);
  return rows.map(({ id, status, percent, reason, coverStatus, coverTimeMs, coverReason }) => ({
    id,
    status,
    percent,
    reason,
    // To an author it is the same whether a worker has begun with it.
    coverStatus: coverStatus === "uploaded" ? "processing" : (coverStatus ?? ""),
    coverTimeMs,
    coverReason: coverReason ?? "",
  }));
}

const columns = {
  id: videos.id,
  status: videos.status,
  percent: videos.progress,
  reason: videos.statusReason,
  coverStatus: videoCovers.status,
  coverTimeMs: sql`COALESCE(${videoCovers.timeMs}, ${videos.coverTimeMs})`.mapWith(Number),
  coverReason: videoCovers.statusReason,
};
