import type { ServiceImpl } from "@connectrpc/connect";
import { videoCovers, videos } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { CoverJobAdminService, CoverJobService } from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import { and, eq } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { createJobs } from "../jobs.ts";
import { encodeCovers } from "./outputs.ts";

/** What of a video it is good to know when its author chooses a cover. */
type Shown = Pick<typeof videos.$inferSelect, "status" | "durationMs" | "playKey" | "covers" | "coverTimeMs">;

/**
 * How long pictures stay that nobody is told of any more, for those who have their URLs from a moment ago; longer than the lease of a
 * worker that may still be storing some.
 */
export const tidyAfterMs = 30_000;

/** A row of `video_covers` is a job until it is ready or has failed. */
export function createCoverJobs(context: Context) {
  return createJobs(context, {
    table: videoCovers,
    owner: "authorId",
    // Whatever becomes of the attempt, what it stored is looked at when it can store no more.
    renewed: () => ({ tidyAt: context.now() + tidyAfterMs }),
    givenUp: "This cover could not be made. Please choose a moment again.",
    // Nothing that is cached depends on it before it is ready.
    changed: () => Promise.resolve(),
  });
}

export type CoverJobs = ReturnType<typeof createCoverJobs>;

/**
 * Takes down an author's wish for another cover: the row is the job. A wish takes the place of the one before, whoever works on that. The
 * same wish again changes nothing, unless it has failed; a wish for what is shown ends the one before.
 *
 * @throws INVALID_PARAMETER for a moment outside of the video, VIDEO_NOT_FOUND, VIDEO_NOT_READY.
 */
export async function chooseCover(
  { db, now }: Pick<Context, "db" | "now">,
  viewerId: number,
  { videoId, timeMs: asked }: { videoId: bigint; timeMs: bigint },
): Promise<void> {
  const id = toId(videoId);
  const timeMs = Number(asked);
  await transact(db, async (tx) => {
    const mine = and(eq(videos.id, id), eq(videos.authorId, viewerId));
    // Locked first by everybody, so that no wish outlives its video.
    const [video] = await tx.select().from(videos).where(mine).for("update");
    checkMoment(video, timeMs);
    const its = eq(videoCovers.id, id);
    const [before] = await tx.select().from(videoCovers).where(its).for("update");
    const isShown = video.covers !== "" && video.coverTimeMs === timeMs;
    const isAsked = before ? before.timeMs === timeMs && before.status !== "failed" : isShown;
    if (isAsked) return;
    const wish = {
      timeMs,
      status: isShown ? ("ready" as const) : ("uploaded" as const),
      statusReason: "",
      rawKey: video.playKey,
      jobAttempts: 0,
      jobFaults: 0,
      jobDead: false,
      jobFence: (before?.jobFence ?? 0) + 1,
      jobDueAt: now(),
    };
    if (before) await tx.update(videoCovers).set(wish).where(its);
    else await tx.insert(videoCovers).values({ id, authorId: viewerId, ...wish });
  });
}

function checkMoment(video: Shown | undefined, timeMs: number): asserts video is Shown {
  if (!video || video.status === "deleted") {
    throw flickError(Reason.VIDEO_NOT_FOUND, "video_id: you have no such video");
  }
  if (video.status !== "ready") {
    const why = video.status === "failed" ? "has failed" : "is still being processed";
    throw flickError(Reason.VIDEO_NOT_READY, `video_id: this video ${why}, so that there is no cover to choose`);
  }
  if (timeMs < 0 || timeMs >= video.durationMs) {
    throw flickError(Reason.INVALID_PARAMETER, `time_ms: must be from 0 to ${video.durationMs - 1}, within this video`);
  }
}

/** What operators see of the jobs and do with them. */
export function createCoverJobAdminService({
  listJobs,
  retryJob,
}: CoverJobs): ServiceImpl<typeof CoverJobAdminService> {
  return { listJobs, retryJob };
}

/** The media worker's side of them. */
export function createCoverJobService(context: Context, jobs: CoverJobs): ServiceImpl<typeof CoverJobService> {
  const { db, cache, now } = context;
  const { claim, renewJob, failJob, listDueJobs, held, isCompleted, claimLost } = jobs;

  return {
    renewJob,
    failJob,
    listDueJobs,

    async claimJob({ jobId }) {
      const claimed = await claim(jobId);
      return claimed ? { job: { ...claimed.job, timeMs: BigInt(claimed.row.timeMs) } } : {};
    },

    async completeJob(request) {
      const id = toId(request.jobId);
      const { coverKey, previewKey, thumbhash } = request;
      const made = { coverKey, previewKey, thumbhash, covers: encodeCovers(request.covers) };
      const completed = await transact(db, async (tx) => {
        const isReady = and(eq(videos.id, id), eq(videos.status, "ready"));
        const [video] = await tx.select({ id: videos.id }).from(videos).where(isReady).for("update");
        const [wish] = await tx
          .select({ timeMs: videoCovers.timeMs })
          .from(videoCovers)
          .where(held(request))
          .for("update");
        if (!video || !wish) return false;
        await tx
          .update(videoCovers)
          .set({ status: "ready", statusReason: "", tidyAt: now() + tidyAfterMs })
          .where(eq(videoCovers.id, id));
        await tx
          .update(videos)
          .set({ ...made, coverTimeMs: wish.timeMs })
          .where(eq(videos.id, id));
        return true;
      });
      if (!completed && !(await isCompleted(request))) throw claimLost();
      // Also for a call that comes again: the first one may have died after its commit.
      await cache.delete([cacheKeys.video(id)]);
      return {};
    },
  };
}
