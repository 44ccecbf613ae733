import { uploads, videos } from "@flick/db/schema/video.ts";
import { and, eq, lte, or } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";

/** For whoever takes a removal on, from one step to the next; another process goes on with it when the first one has died. */
const leaseMs = 20_000;
const retryMs = 5_000;
const dueAtOnce = 20;
/** Videos that are removed side by side: one with many likes keeps the others waiting no longer. */
const lanes = 4;
const objectsAtOnce = 16;
/**
 * After a deletion a media worker may store something as long as its lease lasts, and a like that has seen the video just before
 * may be written. When this time is over neither can come any more, and what came meanwhile is removed with the row.
 */
const settleMs = 30_000;

type VideoRow = typeof videos.$inferSelect;

/**
 * Removes what deleted videos leave: at once their objects, likes, comments and values in the cache, and, when nothing more can
 * come, the rest and the row. The row is the job, as it is for the media worker: whatever dies, somebody else goes on with it.
 *
 * @returns what goes once through the rows that are due, and tells how many rows are gone.
 */
export function createVideoRemoval(context: Context): () => Promise<number> {
  const { db, objects, cache, clients, log, now } = context;

  return async () => {
    const due = and(eq(videos.status, "deleted"), lte(videos.jobDueAt, now()));
    const rows = await db.select().from(videos).where(due).orderBy(videos.jobDueAt).limit(dueAtOnce);
    const queue = rows.values();
    let gone = 0;
    const lane = async () => {
      for (const row of queue) {
        const lease = { jobDueAt: now() + leaseMs };
        const [taken] = await db
          .update(videos)
          .set(lease)
          .where(and(due, eq(videos.id, row.id)));
        if (taken.affectedRows === 0) continue;
        try {
          if (await remove(row)) gone++;
        } catch (error) {
          log.warn("a deleted video could not be removed", { error });
          await putOff(row, now() + retryMs);
        }
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    if (gone > 0) log.info("removed deleted videos", { videos: gone });
    return gone;
  };

  /** Tells whether the row is gone. */
  async function remove(row: VideoRow): Promise<boolean> {
    const { id, authorId } = row;
    const settledAt = (row.deletedAt ?? 0) + settleMs;
    const settled = now() >= settledAt;
    const videoId = BigInt(id);
    await removeObjects(row);
    while ((await clients.favorite.deleteVideoFavorites({ videoId })).hasMore) await putOff(row, now() + leaseMs);
    while ((await clients.comment.deleteVideoComments({ videoId })).hasMore) await putOff(row, now() + leaseMs);
    if (settled) {
      const itsUploads = or(eq(uploads.id, id), eq(uploads.videoId, id));
      await db.delete(uploads).where(and(eq(uploads.authorId, authorId), itsUploads));
      await db.delete(videos).where(and(eq(videos.id, id), eq(videos.status, "deleted")));
    } else {
      await putOff(row, settledAt);
    }
    await cache.delete([cacheKeys.video(id), cacheKeys.published(authorId), cacheKeys.videoCounts(id)]);
    return settled;
  }

  async function removeObjects({ id, rawKey }: VideoRow): Promise<void> {
    await objects.delete(rawKey);
    for (;;) {
      const page = await objects.list(`videos/${id}/`);
      if (page.length === 0) return;
      for (let at = 0; at < page.length; at += objectsAtOnce) {
        await Promise.all(page.slice(at, at + objectsAtOnce).map(({ key }) => objects.delete(key)));
      }
    }
  }

  async function putOff({ id }: VideoRow, jobDueAt: number): Promise<void> {
    await db
      .update(videos)
      .set({ jobDueAt })
      .where(and(eq(videos.id, id), eq(videos.status, "deleted")));
  }
}
