import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { addCounts, CountChanges } from "@flick/db/counts.ts";
import { videoCovers, videos, workCounts } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { tuples } from "@flick/db/tuples.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { VideoStatus, type VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { and, eq, inArray, sql } from "drizzle-orm";

import type { Admission } from "../admission.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { callerKey } from "../interceptors.ts";
import { checkBatch, cut, pageSize } from "../paging.ts";
import { createCachedVideos, feedDays, type VideoInfo } from "./cached-videos.ts";
import { chooseCover } from "./covers.ts";
import { createFeedViews, type Identify } from "./feed-views.ts";
import type { VideoJobs } from "./media-jobs.ts";
import { createPublish } from "./publish.ts";
import { findStates } from "./publish-status.ts";
import { createVideoView, statusOf } from "./view.ts";

const maxFeed = 30;
const maxList = 100;
const maxAuthors = 1000;

/** The feed and the lists, over the `videos` and `work_counts` tables. */
export function createVideoService(
  context: Context,
  { uploads, identify, jobs }: { uploads: Admission; identify: Identify; jobs: VideoJobs },
): ServiceImpl<typeof VideoService> {
  const { db, cache } = context;
  const view = createVideoView(context);
  const { toVideos } = view;
  const cached = createCachedVideos(context);

  return {
    ...createPublish(context, uploads),

    async getFeed(request, { values }: HandlerContext) {
      const now = context.now() + 1;
      const asked = Number(request.beforeMs);
      const before = asked > 0 && asked < now ? asked : now;
      const size = pageSize(request.count, maxFeed);
      const { page, hasMore } = cut(await cached.feedBefore(before, size + 1), size);
      const rows = await cached.find(page.map(({ id }) => id));
      return {
        videos: await toVideos(rows.filter(isReady), values.get(callerKey).viewerId),
        // An empty page keeps its place: a client at the end of the feed does not start over by itself.
        nextBeforeMs: BigInt(page.at(-1)?.feedTime ?? before),
        hasMore,
        newestMs: BigInt(page[0]?.feedTime ?? 0),
      };
    },

    getFeedViews: createFeedViews(context, { findCounts: view.findCounts, identify }),

    async listPublished(request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const authorId = Number(request.userId) || viewerId;
      const size = pageSize(request.count, maxList);
      const all = authorId === viewerId;
      const ids = await cached.publishedBy(authorId, { all, cursor: Number(request.cursor), limit: size + 1 });
      const { page, hasMore } = cut(ids, size);
      const rows = (await cached.find(page)).filter((row) => isReady(row) || (all && row.status !== "deleted"));
      return { videos: await toVideos(rows, viewerId), nextCursor: BigInt(page.at(-1) ?? 0), hasMore };
    },

    async getPublishStatus({ videoId }, { values }: HandlerContext) {
      const [row] = await findStates(db, values.get(callerKey).viewerId, [toId(videoId)]);
      if (!row || row.status === "deleted") throw noSuchVideo();
      const { percent, reason, coverReason } = row;
      return {
        videoId,
        status: statusOf(row.status),
        percent,
        reason,
        coverStatus: row.coverStatus === "" ? VideoStatus.UNSPECIFIED : statusOf(row.coverStatus),
        coverTimeMs: BigInt(row.coverTimeMs),
        coverReason,
      };
    },

    async retryVideo({ videoId }, { values }: HandlerContext) {
      const before = await jobs.retry(videoId, eq(videos.authorId, values.get(callerKey).viewerId));
      if (before === null || before === "deleted") throw noSuchVideo();
      return {};
    },

    async chooseCover(request, { values }: HandlerContext) {
      await chooseCover(context, values.get(callerKey).viewerId, request);
      return {};
    },

    async deleteVideo({ videoId }, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const id = toId(videoId);
      const feedTime = await transact(db, async (tx) => {
        const its = eq(videos.id, id);
        const { status, feedTime: place, authorId } = videos;
        const [row] = await tx.select({ status, feedTime: place, authorId }).from(videos).where(its).for("update");
        // One that was deleted before has left no row.
        if (!row) return null;
        if (row.authorId !== viewerId) throw noSuchVideo();
        if (row.status === "deleted") return null;
        const deletedAt = context.now();
        await tx.update(videos).set({ status: "deleted", feedTime: null, deletedAt, jobDueAt: deletedAt }).where(its);
        await tx.delete(videoCovers).where(eq(videoCovers.id, id));
        // A failed video counts no longer.
        if (row.status === "failed") return null;
        const counts = new CountChanges<"count">();
        counts.add(viewerId, "count", -1);
        await addCounts(tx, workCounts, "userId", ["count"], counts);
        return row.feedTime;
      });
      await Promise.all([
        cache.delete([cacheKeys.video(id), cacheKeys.published(viewerId), cacheKeys.userCounts(viewerId)]),
        feedTime !== null && cache.remove(feedDays, cacheKeys.feedDay(feedTime), { id, feedTime }),
      ]);
      return {};
    },

    async batchGetVideos({ videoIds, viewerId }) {
      const ids = checkBatch("video_ids", videoIds);
      const rows = await cached.find(ids);
      return { videos: await toVideos(rows.filter(isReady), Number(viewerId)) };
    },

    async batchGetAuthors({ videoIds }) {
      const ids = checkBatch("video_ids", videoIds, maxAuthors);
      if (ids.length === 0) return {};
      const rows = await db
        .select({ id: videos.id, authorId: videos.authorId })
        .from(videos)
        .where(and(sql`${videos.id} IN (${tuples(ids.map((id) => [id]))})`, eq(videos.status, "ready")));
      return { videoIds: rows.map(({ id }) => BigInt(id)), authorIds: rows.map(({ authorId }) => BigInt(authorId)) };
    },

    async batchGetWorkCounts({ userIds }) {
      const ids = checkBatch("user_ids", userIds);
      if (ids.length === 0) return {};
      const rows = await db.select().from(workCounts).where(inArray(workCounts.userId, ids));
      return { counts: Object.fromEntries(rows.map((row) => [String(row.userId), BigInt(row.count)])) };
    },
  };
}

const noSuchVideo = () => flickError(Reason.VIDEO_NOT_FOUND, "video_id: you have no such video");

/** A list may be a moment older than the rows. */
const isReady = (row: VideoInfo) => row.status === "ready";
