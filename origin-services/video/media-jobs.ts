import type { ServiceImpl } from "@connectrpc/connect";
import { databaseFault } from "@flick/db/errors.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { CompleteJobRequest, MediaJobService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { eq, sql } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { createJobs, type JobClaim } from "../jobs.ts";
import { feedDays } from "./cached-videos.ts";
import { encodeCovers, encodeRenditions } from "./outputs.ts";

/** Neighbouring milliseconds that are tried for a place in the feed. */
const maxFeedTries = 1000;

/** The media worker's jobs with videos: a row of `videos` is one until it is ready or has failed. */
export function createMediaJobService(context: Context): ServiceImpl<typeof MediaJobService> {
  const { db, cache, now } = context;
  const { claim, renewJob, failJob, listDueJobs, held, isCompleted, claimLost } = createJobs(context, {
    table: videos,
    renewed: ({ percent = 0 }) => ({ progress: Math.min(Math.max(percent, 0), 100) }),
    givenUp: "This video could not be processed. Please upload it again.",
    /** A failed video counts no longer among its author's works. */
    async endAsFailed(tx, row, reason) {
      await tx.update(videos).set({ status: "failed", statusReason: reason }).where(eq(videos.id, row.id));
      await tx
        .update(workCounts)
        .set({ count: sql`${workCounts.count} - 1` })
        .where(eq(workCounts.userId, row.authorId));
    },
    async changed({ id, authorId }, ended) {
      const ofAuthor = ended ? [cacheKeys.published(authorId), cacheKeys.userCounts(authorId)] : [];
      await cache.delete([cacheKeys.video(id), ...ofAuthor]);
    },
  });

  return {
    renewJob,
    failJob,
    listDueJobs,

    async claimJob({ jobId }) {
      const claimed = await claim(jobId);
      return claimed ? { job: claimed.job } : {};
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
    progress: 100,
  };
}
