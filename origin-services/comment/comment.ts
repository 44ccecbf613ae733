import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { addCounts, CountChanges } from "@flick/db/counts.ts";
import { comments, videoCommentCounts } from "@flick/db/schema/comment.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import type { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { and, desc, eq, inArray, lt } from "drizzle-orm";

import { findAuthors } from "../authors.ts";
import { createBatcher } from "../batch.ts";
import { listKind } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { callerKey } from "../interceptors.ts";
import { checkBatch, cut, pageSize } from "../paging.ts";
import { readText } from "../text.ts";

const maxList = 100;
const maxLength = 500;
/** Comments under a deleted video that one transaction removes. */
const removedAtOnce = 500;

type CommentRow = typeof comments.$inferSelect;

type CommentAction = { create: CommentRow } | { delete: { id: number; videoId: number; viewerId: number } };

/** What became of an action. */
type Outcome = "done" | "no such video" | "no such comment" | "not yours";

const newest = listKind<CommentRow>({
  encode: ({ id, videoId, userId, createdAt, content }) => ({
    score: id,
    // With the id: somebody may say the same twice in one millisecond.
    member: JSON.stringify([videoId, userId, createdAt, content, id]),
  }),
  decode(member, id) {
    const [videoId, userId, createdAt, content] = JSON.parse(member) as [number, number, number, string];
    return { id, videoId, userId, createdAt, content };
  },
});

/** Comments, over `comments` and the counts beside it. */
export function createCommentService(context: Context): ServiceImpl<typeof CommentService> {
  const { db, cache, clients, newId, now } = context;
  const act = createBatcher<CommentAction, Outcome>({ commit });
  /** Before the comment is written: a failure must not follow what cannot be taken back. */
  const findWriter = createBatcher<number, User>({ commit: findWriters, maxBatch: 100 });

  return {
    async createComment(request, { values }: HandlerContext) {
      const { viewerId: userId } = values.get(callerKey);
      const content = readText("comment_text", request.content, maxLength);
      const row = { id: newId(), videoId: toId(request.videoId), userId, content, createdAt: now() };
      const user = await findWriter(userId);
      check(await act({ create: row }));
      return { comment: { id: BigInt(row.id), user, content, createTime: BigInt(row.createdAt) } };
    },

    async deleteComment({ videoId, commentId }, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      check(await act({ delete: { id: toId(commentId), videoId: toId(videoId), viewerId } }));
      return {};
    },

    async listComments(request, { values }: HandlerContext) {
      const size = pageSize(request.count, maxList);
      const rows = await list(Number(request.videoId), Number(request.cursor), size + 1);
      const { page, hasMore } = cut(rows, size);
      const shown = await toComments(page, values.get(callerKey).viewerId);
      return { comments: shown, nextCursor: BigInt(page.at(-1)?.id ?? 0), hasMore };
    },

    async deleteVideoComments(request) {
      const videoId = toId(request.videoId);
      const removed = await transact(db, async (tx) => {
        const rows = await tx
          .select({ id: comments.id })
          .from(comments)
          .where(eq(comments.videoId, videoId))
          .limit(removedAtOnce)
          .for("update");
        const ids = rows.map(({ id }) => id);
        if (ids.length > 0) {
          const counts = new CountChanges<"count">();
          await tx.delete(comments).where(inArray(comments.id, ids));
          counts.add(videoId, "count", -ids.length);
          await addCounts(tx, videoCommentCounts, "videoId", ["count"], counts);
        }
        const noneLeft = and(eq(videoCommentCounts.videoId, videoId), eq(videoCommentCounts.count, 0));
        await tx.delete(videoCommentCounts).where(noneLeft);
        return ids;
      });
      await cache.delete([cacheKeys.comments(videoId), cacheKeys.videoCounts(videoId)]);
      return { hasMore: removed.length === removedAtOnce };
    },

    async batchGetCommentCounts({ videoIds }) {
      const ids = checkBatch("video_ids", videoIds);
      if (ids.length === 0) return {};
      const rows = await db.select().from(videoCommentCounts).where(inArray(videoCommentCounts.videoId, ids));
      return { counts: Object.fromEntries(rows.map((row) => [String(row.videoId), BigInt(row.count)])) };
    },
  };

  /** The first page through the cache. */
  async function list(videoId: number, cursor: number, limit: number): Promise<CommentRow[]> {
    if (cursor > 0) return load(videoId, limit, cursor);
    const keys = [cacheKeys.comments(videoId)];
    const [page] = await cache.lists(newest, keys, { limit }, () => load(videoId, newest.most + 1));
    return page ?? load(videoId, limit);
  }

  function load(videoId: number, limit: number, cursor = 0): Promise<CommentRow[]> {
    return db
      .select()
      .from(comments)
      .where(and(eq(comments.videoId, videoId), cursor > 0 ? lt(comments.id, cursor) : undefined))
      .orderBy(desc(comments.id))
      .limit(limit);
  }

  /** One call for all authors; a comment whose author is gone is left out. */
  async function toComments(rows: CommentRow[], viewerId: number) {
    if (rows.length === 0) return [];
    const userIds = [...new Set(rows.map((row) => BigInt(row.userId)))];
    const { users } = await clients.user.batchGetUsers({ userIds, viewerId: BigInt(viewerId) });
    const authors = new Map(users.map((user) => [Number(user.id), user]));
    return rows.flatMap((row) => {
      const user = authors.get(row.userId);
      return user ? [{ id: BigInt(row.id), user, content: row.content, createTime: BigInt(row.createdAt) }] : [];
    });
  }

  /** Writers as they see themselves, which is as everybody sees them: nobody follows themselves. */
  async function findWriters(ids: readonly number[]): Promise<User[]> {
    const { users } = await clients.user.batchGetUsers({ userIds: [...new Set(ids)].map(BigInt) });
    const byId = new Map(users.map((user) => [Number(user.id), user]));
    return ids.map((id) => {
      const user = byId.get(id);
      if (!user) throw flickError(Reason.USER_NOT_FOUND, "your account is gone");
      return user;
    });
  }

  /** Creations first: nobody can know the id of a comment that is not committed yet. */
  async function commit(actions: readonly CommentAction[]): Promise<Promise<Outcome>[]> {
    const videoIds = actions.map((action) => ("create" in action ? action.create.videoId : action.delete.videoId));
    const authors = await findAuthors(clients, videoIds);
    const authorOf = (videoId: number) => authors.get(videoId) ?? 0;
    const { changed, outcomes } = await transact(db, async (tx) => {
      const counts = new CountChanges<"count">();
      const inserts = actions.flatMap((action) =>
        "create" in action && authorOf(action.create.videoId) ? [action.create] : [],
      );
      const asked = actions.flatMap((action) => ("delete" in action ? [action.delete.id] : []));
      const found =
        asked.length > 0
          ? await tx.select().from(comments).where(inArray(comments.id, asked)).orderBy(comments.id).for("update")
          : [];
      const byId = new Map(found.map((row) => [row.id, row]));
      const deletes = new Set<CommentRow>();
      const results = actions.map((action): Outcome => {
        if ("create" in action) return authorOf(action.create.videoId) ? "done" : "no such video";
        const { id, videoId, viewerId } = action.delete;
        const row = byId.get(id);
        // Gone, or never there: nobody can tell the two apart, and the wish is fulfilled.
        if (!row) return "done";
        if (row.videoId !== videoId) return "no such comment";
        if (row.userId !== viewerId && authorOf(videoId) !== viewerId) return "not yours";
        deletes.add(row);
        return "done";
      });
      if (inserts.length > 0) await tx.insert(comments).values(inserts);
      if (deletes.size > 0) {
        const ids = [...deletes].map((row) => row.id);
        await tx.delete(comments).where(inArray(comments.id, ids));
      }
      for (const row of inserts) counts.add(row.videoId, "count", 1);
      for (const row of deletes) counts.add(row.videoId, "count", -1);
      await addCounts(tx, videoCommentCounts, "videoId", ["count"], counts);
      return { changed: [...inserts, ...deletes], outcomes: results };
    });
    const stale = changed.flatMap((row) => [cacheKeys.comments(row.videoId), cacheKeys.videoCounts(row.videoId)]);
    const deleted = cache.delete([...new Set(stale)]);
    return outcomes.map((outcome) => deleted.then(() => outcome));
  }
}

function check(outcome: Outcome): void {
  switch (outcome) {
    case "done":
      return;
    case "no such video":
      throw flickError(Reason.VIDEO_NOT_FOUND, "video_id: there is no such video");
    case "no such comment":
      throw flickError(Reason.COMMENT_NOT_FOUND, "comment_id: this video has no such comment");
    case "not yours":
      throw flickError(
        Reason.COMMENT_NOT_YOURS,
        "comment_id: only its author or the video's author may delete a comment",
      );
  }
}
