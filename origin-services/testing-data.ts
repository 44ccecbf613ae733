import type { Database } from "@flick/db/client.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { sql } from "drizzle-orm";

import type { TestOrigin } from "./testing.ts";

let made = 0;

/** A row of its own, ready unless `changes` says otherwise, and counted among its author's works. No cache hears of it. */
export async function insertVideo(
  db: Database,
  authorId: number,
  changes: Partial<typeof videos.$inferInsert> = {},
): Promise<bigint> {
  const { id = 100_001 + made } = changes;
  made++;
  const status = changes.status ?? "ready";
  const feedTime = status === "ready" ? 1_700_000_000_000 + made : null;
  const keys = { rawKey: `raw/${id}`, playKey: "play", coverKey: "cover" };
  const times = { createdAt: 1, feedTime, jobDueAt: 1 };
  await db.transaction(async (tx) => {
    await tx.insert(videos).values({ id, authorId, title: `video ${made}`, status, ...keys, ...times, ...changes });
    if (status === "failed" || status === "deleted") return;
    await tx
      .insert(workCounts)
      .values({ userId: authorId, count: 1 })
      .onDuplicateKeyUpdate({ set: { count: sql`${workCounts.count} + 1` } });
  });
  return BigInt(id);
}

/** A video that has gone the way of every upload: a row, a job that was claimed and completed, a place in the feed. */
export async function publishVideo(
  origin: TestOrigin,
  authorId: number,
  changes: Partial<typeof videos.$inferInsert> = {},
): Promise<bigint> {
  const videoId = await insertVideo(origin.db, authorId, { ...changes, status: "uploaded", playKey: "", coverKey: "" });
  const { job } = await origin.jobs.claimJob({ jobId: videoId });
  if (!job) throw new Error("there was nothing to claim");
  const outputs = { playKey: "play.mp4", coverKey: "cover.jpg", width: 720, height: 1280, durationMs: 1000n };
  await origin.jobs.completeJob({ jobId: videoId, fence: job.fence, ...outputs });
  return videoId;
}

/** What a call came to: `ok`, or the name of the reason that it was refused for. */
export function outcome(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "ok",
    (error: unknown) => Reason[reasonOf(error)],
  );
}
