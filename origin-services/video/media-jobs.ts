import type { ServiceImpl } from "@connectrpc/connect";
import { databaseFault } from "@flick/db/errors.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type {
  CompleteJobRequest,
  MediaJobAdminService,
  MediaJobService,
} from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { eq, sql } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { createJobs, type JobClaim } from "../jobs.ts";
import { feedDays } from "./cached-videos.ts";
import { encodeCovers, encodeRenditions } from "./outputs.ts";

/** Neighbouring milliseconds that are tried for a place in the feed. */
const maxFeedTries = 1000;

/** A row of `videos` is a job until it is ready or has failed. */
export function createVideoJobs(context: Context) {
  return createJobs(context, {
    table: videos,
    owner: "authorId",
    renewed: ({ percent = 0 }) => ({ progress: Math.min(Math.max(percent, 0), 100) }),
    givenUp: "This video could not be processed. Please upload it again.",
    /** A failed video counts no longer among its author's works. */
    async counted(tx, row, amount) {
      await tx
        .update(workCounts)
        .set({ count: sql`${workCounts.count} + ${amount}` })
        .where(eq(workCounts.userId, row.authorId));
    },
    async changed({ id, authorId, status }, ending) {
      const counted = ending !== null || status === "failed";
      const ofAuthor = counted ? [cacheKeys.published(authorId), cacheKeys.userCounts(authorId)] : [];
      await context.cache.delete([cacheKeys.video(id), ...ofAuthor]);
    },
  });
}

export type VideoJobs = ReturnType<typeof createVideoJobs>;

/** What operators see of them and do with them. */
export function createMediaJobAdminService({
  listJobs,
  retryJob,
}: VideoJobs): ServiceImpl<typeof MediaJobAdminService> {
  return { listJobs, retryJob };
}

/** The media worker's side of them. */
export function createMediaJobService(context: Context, jobs: VideoJobs): ServiceImpl<typeof MediaJobService> {
  const { db, cache, now } = context;
  const { claim, renewJob, failJob, listDueJobs, held, isCompleted, claimLost } = jobs;

  return {
    renewJob,
    failJob,
    listDueJobs,

    async claimJob({ jobId }) {
      const claimed = await claim(jobId);
      return claimed ? { job: { ...claimed.job, sha256: claimed.row.sha256 } } : {};
    },

    async completeJob(request) {
      const made = columnsOf(request);
      const firstFeedTime = now();
      for (let feedTime = firstFeedTime; feedTime < firstFeedTime + maxFeedTries; feedTime++) {
        try {
          const [result] = await db
            .update(videos)
            .set({ ...made, status: "ready", statusReason: "", feedTime })
            .where(held(request));
          if (result.affectedRows === 0 && !(await isCompleted(request))) throw claimLost();
          await showInCache(request);
          return {};
        } catch (error) {
          // The unique key on feed_time: another video took this millisecond.
          if (databaseFault(error) !== "duplicate") throw error;
        }
      }
      throw flickError(Reason.BUSY, "too many videos became ready at once: try again");
    },
  };

  /** Also for a call that comes again: the first one may have died after its commit. */
  async function showInCache({ jobId }: JobClaim): Promise<void> {
    const [video] = await db
      .select({ id: videos.id, authorId: videos.authorId, feedTime: videos.feedTime })
      .from(videos)
      .where(eq(videos.id, Number(jobId)));
    if (!video) return;
    const { id, authorId, feedTime } = video;
    await Promise.all([
      cache.delete([cacheKeys.video(id), cacheKeys.published(authorId)]),
      feedTime !== null && cache.add(feedDays, cacheKeys.feedDay(feedTime), { id, feedTime }),
    ]);
  }
}

function columnsOf(request: CompleteJobRequest) {
  const sha256 = request.sha256 ? { sha256: request.sha256 } : {};
  const { playKey, coverKey, hlsKey, previewKey, thumbhash, width, height } = request;
  return {
    playKey,
    coverKey,
    hlsKey,
    previewKey,
    thumbhash,
    width,
    height,
    renditions: encodeRenditions(request.renditions),
    covers: encodeCovers(request.covers),
    durationMs: Number(request.durationMs),
    coverTimeMs: Number(request.coverTimeMs),
    ...sha256,
    progress: 100,
  };
}
