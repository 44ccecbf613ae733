import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { and, desc, eq, inArray, lt, ne, sql } from "drizzle-orm";

import type { Context } from "../context.ts";
import { callerKey } from "../interceptors.ts";
import { createVideoView } from "./view.ts";

const maxFeed = 30;
const maxList = 100;
const maxBatch = 100;

/** The feed and the lists, over the `videos` and `work_counts` tables. */
export function createVideoService(context: Context): ServiceImpl<typeof VideoService> {
  const { db } = context;
  const { toVideos } = createVideoView(context);
  const feedPage = db
    .select()
    .from(videos)
    .where(lt(videos.feedTime, sql.placeholder("before")))
    .orderBy(desc(videos.feedTime))
    .limit(sql.placeholder("limit"))
    .prepare();

  return {
    async getFeed(request, { values }: HandlerContext) {
      const now = context.now() + 1;
      const asked = Number(request.beforeMs);
      const before = asked > 0 && asked < now ? asked : now;
      const { page, hasMore } = cut(
        await feedPage.execute({ before, limit: maxFeed + 1 }),
        pageSize(request.count, maxFeed),
      );
      return {
        videos: await toVideos(page, values.get(callerKey).viewerId),
        // An empty page keeps its place: a client at the end of the feed does not start over by itself.
        nextBeforeMs: BigInt(page.at(-1)?.feedTime ?? before),
        hasMore,
      };
    },

    async listPublished(request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const authorId = Number(request.userId) || viewerId;
      const size = pageSize(request.count, maxList);
      const rows = await db
        .select()
        .from(videos)
        .where(
          and(
            eq(videos.authorId, authorId),
            authorId === viewerId ? ne(videos.status, "deleted") : eq(videos.status, "ready"),
            request.cursor > 0n ? lt(videos.id, Number(request.cursor)) : undefined,
          ),
        )
        .orderBy(desc(videos.id))
        .limit(size + 1);
      const { page, hasMore } = cut(rows, size);
      return { videos: await toVideos(page, viewerId), nextCursor: BigInt(page.at(-1)?.id ?? 0), hasMore };
    },

    async batchGetWorkCounts({ userIds }) {
      if (userIds.length > maxBatch) throw flickError(Reason.INVALID_PARAMETER, `user_ids: at most ${maxBatch}`);
      if (userIds.length === 0) return { counts: {} };
      const rows = await db
        .select()
        .from(workCounts)
        .where(inArray(workCounts.userId, userIds.map(Number)));
      return { counts: Object.fromEntries(rows.map((row) => [String(row.userId), BigInt(row.count)])) };
    },
  };
}

/** 0 (not given) and anything beyond the most that one page holds mean that most. */
function pageSize(asked: number, most: number): number {
  return asked > 0 ? Math.min(asked, most) : most;
}

/** One row more than asked for tells whether there is another page. */
function cut<T>(rows: T[], size: number): { page: T[]; hasMore: boolean } {
  return { page: rows.slice(0, size), hasMore: rows.length > size };
}
