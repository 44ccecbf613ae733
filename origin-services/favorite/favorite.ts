import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Transaction } from "@flick/db/client.ts";
import { addCounts, CountChanges } from "@flick/db/counts.ts";
import { favorites, userFavoriteCounts, videoFavoriteCounts } from "@flick/db/schema/favorite.ts";
import { transact } from "@flick/db/transaction.ts";
import { tuples } from "@flick/db/tuples.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { and, desc, eq, inArray, lt, sql } from "drizzle-orm";

import { findAuthors } from "../authors.ts";
import { createBatcher } from "../batch.ts";
import { listKind } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { callerKey } from "../interceptors.ts";
import { settlePairs } from "../pairs.ts";
import { checkBatch, cut, pageSize } from "../paging.ts";

const maxList = 100;
/** Likes of a deleted video that one transaction removes. */
const removedAtOnce = 500;

/** One request of one viewer. */
interface FavoriteAction {
  userId: number;
  videoId: number;
  favorite: boolean;
}

interface Favorite {
  userId: number;
  videoId: number;
  authorId: number;
}

interface FavoriteEntry {
  id: number;
  videoId: number;
}

const recent = listKind<FavoriteEntry>({
  encode: ({ id, videoId }) => ({ score: id, member: String(videoId) }),
  decode: (member, id) => ({ id, videoId: Number(member) }),
});

/** Likes, over `favorites` and the counts beside it. */
export function createFavoriteService(context: Context): ServiceImpl<typeof FavoriteService> {
  const { db, cache, clients, newId } = context;
  const act = createBatcher<FavoriteAction, boolean>({ commit });

  return {
    async setFavorite(request, { values }: HandlerContext) {
      const { viewerId: userId } = values.get(callerKey);
      const done = await act({ userId, videoId: toId(request.videoId), favorite: request.favorite });
      if (!done) throw flickError(Reason.VIDEO_NOT_FOUND, "video_id: there is no such video");
      return {};
    },

    async listFavorites(request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const userId = Number(request.userId) || viewerId;
      const size = pageSize(request.count, maxList);
      const { page, hasMore } = cut(await list(userId, Number(request.cursor), size + 1), size);
      const { videos } = await clients.video.batchGetVideos({
        videoIds: page.map((row) => BigInt(row.videoId)),
        viewerId: BigInt(viewerId),
      });
      return { videos, nextCursor: BigInt(page.at(-1)?.id ?? 0), hasMore };
    },

    async batchGetVideoFavorites({ videoIds, viewerId }) {
      const ids = checkBatch("video_ids", videoIds);
      const [counts, mine] = await Promise.all([
        ids.length > 0 ? db.select().from(videoFavoriteCounts).where(inArray(videoFavoriteCounts.videoId, ids)) : [],
        ids.length > 0 && viewerId > 0n
          ? db
              .select({ videoId: favorites.videoId })
              .from(favorites)
              .where(and(eq(favorites.userId, Number(viewerId)), inArray(favorites.videoId, ids)))
          : [],
      ]);
      const liked = new Set(mine.map((row) => row.videoId));
      const entries = counts.map((row) => {
        return [String(row.videoId), { count: BigInt(row.count), isFavorite: liked.has(row.videoId) }] as const;
      });
      return { favorites: Object.fromEntries(entries) };
    },

    async deleteVideoFavorites(request) {
      const videoId = toId(request.videoId);
      const removed = await transact(db, async (tx) => {
        const rows = await tx
          .select({ userId: favorites.userId, videoId: favorites.videoId, authorId: favorites.authorId })
          .from(favorites)
          .where(eq(favorites.videoId, videoId))
          .limit(removedAtOnce)
          .for("update");
        if (rows.length > 0) {
          await tx.execute(sql`DELETE ${favorites} FROM ${favorites} ${byPair} WHERE ${inPairs(rows)}`);
          await count(tx, [], rows);
        }
        const noneLeft = and(eq(videoFavoriteCounts.videoId, videoId), eq(videoFavoriteCounts.count, 0));
        await tx.delete(videoFavoriteCounts).where(noneLeft);
        return rows;
      });
      await cache.delete([...new Set(removed.flatMap(keysOf)), cacheKeys.videoCounts(videoId)]);
      return { hasMore: removed.length === removedAtOnce };
    },

    async batchGetUserFavorites({ userIds }) {
      const ids = checkBatch("user_ids", userIds);
      if (ids.length === 0) return {};
      const rows = await db.select().from(userFavoriteCounts).where(inArray(userFavoriteCounts.userId, ids));
      const entries = rows.map((row) => {
        const counts = { favoriteCount: BigInt(row.favoriteCount), totalFavorited: BigInt(row.totalFavorited) };
        return [String(row.userId), counts] as const;
      });
      return { favorites: Object.fromEntries(entries) };
    },
  };

  /** The first page through the cache. */
  async function list(userId: number, cursor: number, limit: number): Promise<FavoriteEntry[]> {
    if (cursor > 0) return load(userId, limit, cursor);
    const keys = [cacheKeys.favorites(userId)];
    const [page] = await cache.lists(recent, keys, { limit }, () => load(userId, recent.most + 1));
    return page ?? load(userId, limit);
  }

  function load(userId: number, limit: number, cursor = 0): Promise<FavoriteEntry[]> {
    return db
      .select({ id: favorites.id, videoId: favorites.videoId })
      .from(favorites)
      .where(and(eq(favorites.userId, userId), cursor > 0 ? lt(favorites.id, cursor) : undefined))
      .orderBy(desc(favorites.id))
      .limit(limit);
  }

  /** Two round trips before the transaction and five in it, however many actions. */
  async function commit(actions: readonly FavoriteAction[]): Promise<Promise<boolean>[]> {
    const liked = actions.filter((action) => action.favorite).map((action) => action.videoId);
    const authors = await findAuthors(clients, liked);
    const { changed, done } = await transact(
      db,
      async (tx) => {
        const existing = await lockPairs(tx, actions);
        const wishes = actions.map(({ userId, videoId, favorite: wanted }) => {
          const authorId = authors.get(videoId);
          const row = authorId === undefined ? null : { userId, videoId, authorId };
          return { pair: pairOf({ userId, videoId }), wanted, row };
        });
        const settlement = settlePairs(wishes, new Map(existing.map((row) => [pairOf(row), row])));
        const { inserts, deletes } = settlement;
        if (inserts.length > 0) await insert(tx, inserts);
        if (deletes.length > 0) {
          await tx.execute(sql`DELETE ${favorites} FROM ${favorites} ${byPair} WHERE ${inPairs(deletes)}`);
        }
        await count(tx, inserts, deletes);
        return { changed: [...inserts, ...deletes], done: settlement.done };
      },
      { retryDuplicates: true },
    );
    const deleted = cache.delete([...new Set(changed.flatMap(keysOf))]);
    return done.map((one) => deleted.then(() => one));
  }

  function lockPairs(tx: Transaction, actions: readonly FavoriteAction[]): Promise<Favorite[]> {
    return tx
      .select({ userId: favorites.userId, videoId: favorites.videoId, authorId: favorites.authorId })
      .from(favorites, { forceIndex: "PRIMARY" })
      .where(inPairs(actions))
      .orderBy(favorites.userId, favorites.videoId)
      .for("update");
  }

  /** Numbered in the order of the likes, inserted in that of the table, so that two processes do not wait for each other in a circle. */
  async function insert(tx: Transaction, rows: readonly Favorite[]): Promise<void> {
    const values = rows
      .map(({ userId, videoId, authorId }) => [userId, videoId, authorId, newId()] as const)
      .toSorted(([user, video], [otherUser, otherVideo]) => user - otherUser || video - otherVideo);
    await tx.execute(sql`INSERT INTO ${favorites} (user_id, video_id, author_id, id) VALUES ${tuples(values)}`);
  }
}

const keysOf = ({ userId, videoId, authorId }: Favorite) => [
  cacheKeys.isFavorite(videoId, userId),
  cacheKeys.favorites(userId),
  cacheKeys.videoCounts(videoId),
  cacheKeys.userCounts(userId),
  cacheKeys.userCounts(authorId),
];

async function count(tx: Transaction, inserts: Favorite[], deletes: Favorite[]): Promise<void> {
  const ofVideos = new CountChanges<"count">();
  const ofUsers = new CountChanges<"favoriteCount" | "totalFavorited">();
  for (const [favoriteRows, amount] of [
    [inserts, 1],
    [deletes, -1],
  ] as const) {
    for (const { userId, videoId, authorId } of favoriteRows) {
      ofVideos.add(videoId, "count", amount);
      ofUsers.add(userId, "favoriteCount", amount);
      ofUsers.add(authorId, "totalFavorited", amount);
    }
  }
  await addCounts(tx, videoFavoriteCounts, "videoId", ["count"], ofVideos);
  await addCounts(tx, userFavoriteCounts, "userId", ["favoriteCount", "totalFavorited"], ofUsers);
}

const pairOf = ({ userId, videoId }: { userId: number; videoId: number }) => `${userId}:${videoId}`;

/** Left alone, MariaDB may look for a batch of pairs by the index on `video_id`: through all likes of a popular video. */
const byPair = sql.raw("FORCE INDEX (PRIMARY)");

function inPairs(pairs: readonly { userId: number; videoId: number }[]) {
  const rows = pairs.map(({ userId, videoId }) => [userId, videoId]);
  return sql`(${favorites.userId}, ${favorites.videoId}) IN (${tuples(rows)})`;
}
