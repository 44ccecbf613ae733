import type { ServiceImpl } from "@connectrpc/connect";
import type { Transaction } from "@flick/db/client.ts";
import { databaseFault } from "@flick/db/errors.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { MediaJobService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { and, asc, eq, inArray, lte, sql } from "drizzle-orm";

import type { Context } from "../context.ts";

const leaseMs = 20_000;
/** Waits before the next attempt; the last one repeats. */
const retryDelaysMs = [5_000, 30_000, 300_000];
/** Attempts that ended with a fault or with the death of their worker. */
const maxAttempts = 10;
const maxDueJobs = 100;
const maxReasonLength = 255;
/** Neighbouring milliseconds that are tried for a place in the feed. */
const maxFeedTries = 1000;

const unfinished = inArray(videos.status, ["uploaded", "processing"]);

/**
 * The media worker's jobs. A row of `videos` is a job while it is `uploaded` or `processing`; `job_due_at` is when somebody may
 * take it: at once after the upload, later after a fault, when the lease lapses while a worker holds it.
 */
export function createMediaJobService(context: Context): ServiceImpl<typeof MediaJobService> {
  const { db, now } = context;

  return {
    async claimJob({ videoId }) {
      const id = Number(videoId);
      const job = await transact(db, async (tx) => {
        const due = and(eq(videos.id, id), unfinished, lte(videos.jobDueAt, now()));
        const [row] = await tx.select().from(videos).where(due).for("update");
        if (!row) return null;
        if (row.jobAttempts >= maxAttempts) {
          await endAsFailed(tx, row, "This video could not be processed. Please upload it again.");
          return null;
        }
        const claim = { jobFence: row.jobFence + 1, jobAttempts: row.jobAttempts + 1 };
        await tx
          .update(videos)
          .set({ ...claim, status: "processing", jobDueAt: now() + leaseMs })
          .where(eq(videos.id, id));
        return { ...row, ...claim };
      });
      if (!job) return {};
      return {
        job: {
          videoId,
          fence: BigInt(job.jobFence),
          rawKey: job.rawKey,
          attempt: job.jobAttempts,
          leaseMs: BigInt(leaseMs),
        },
      };
    },

    async renewJob(claim) {
      const [result] = await db
        .update(videos)
        .set({ jobDueAt: now() + leaseMs })
        .where(held(claim));
      if (result.affectedRows === 0) throw claimLost();
      return { leaseMs: BigInt(leaseMs) };
    },

    async completeJob(request) {
      const { playKey, coverKey, width, height } = request;
      const durationMs = Number(request.durationMs);
      const firstFeedTime = now();
      for (let feedTime = firstFeedTime; feedTime < firstFeedTime + maxFeedTries; feedTime++) {
        try {
          const [result] = await db
            .update(videos)
            .set({ status: "ready", statusReason: "", playKey, coverKey, width, height, durationMs, feedTime })
            .where(held(request));
          if (result.affectedRows === 0 && !(await isCompleted(request))) throw claimLost();
          return {};
        } catch (error) {
          // The unique key on feed_time: another video took this millisecond.
          if (databaseFault(error) !== "duplicate") throw error;
        }
      }
      throw flickError(Reason.BUSY, "too many videos became ready at once: try again");
    },

    async failJob(request) {
      const reason = Array.from(request.reason).slice(0, maxReasonLength).join("");
      const retryInMs = await transact(db, async (tx) => {
        const [row] = await tx.select().from(videos).where(held(request)).for("update");
        if (!row) throw claimLost();
        if (request.permanent || row.jobAttempts >= maxAttempts) {
          await endAsFailed(tx, row, reason);
          return 0;
        }
        const delay = retryDelaysMs[Math.min(row.jobAttempts, retryDelaysMs.length) - 1] ?? 0;
        await tx
          .update(videos)
          .set({ status: "uploaded", jobDueAt: now() + delay })
          .where(eq(videos.id, row.id));
        return delay;
      });
      return { retryInMs: BigInt(retryInMs) };
    },

    async listDueJobs({ limit }) {
      const rows = await db
        .select({ id: videos.id })
        .from(videos)
        .where(and(unfinished, lte(videos.jobDueAt, now())))
        .orderBy(asc(videos.jobDueAt))
        .limit(Math.min(Math.max(limit, 1), maxDueJobs));
      return { videoIds: rows.map((row) => BigInt(row.id)) };
    },
  };

  /** The answer to the first try may have been lost: completing again with the same claim is no fault. */
  async function isCompleted(claim: Claim): Promise<boolean> {
    const rows = await db
      .select({ id: videos.id })
      .from(videos)
      .where(
        and(eq(videos.id, Number(claim.videoId)), eq(videos.status, "ready"), eq(videos.jobFence, Number(claim.fence))),
      );
    return rows.length > 0;
  }
}

interface Claim {
  videoId: bigint;
  fence: bigint;
}

/** A claim stands while its fencing number is the newest, also after its lease has lapsed: nobody else has taken the job then. */
function held(claim: Claim) {
  return and(
    eq(videos.id, Number(claim.videoId)),
    eq(videos.status, "processing"),
    eq(videos.jobFence, Number(claim.fence)),
  );
}

const claimLost = () => flickError(Reason.CLAIM_LOST, "another worker has this job now, or it has ended");

/** A failed video counts no longer among its author's works. The row must be locked and unfinished. */
async function endAsFailed(tx: Transaction, row: { id: number; authorId: number }, reason: string): Promise<void> {
  await tx.update(videos).set({ status: "failed", statusReason: reason }).where(eq(videos.id, row.id));
  await tx
    .update(workCounts)
    .set({ count: sql`${workCounts.count} - 1` })
    .where(eq(workCounts.userId, row.authorId));
}
