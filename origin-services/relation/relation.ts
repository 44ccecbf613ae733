import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Transaction } from "@flick/db/client.ts";
import { addCounts, CountChanges } from "@flick/db/counts.ts";
import { followCounts, follows } from "@flick/db/schema/relation.ts";
import { transact } from "@flick/db/transaction.ts";
import { tuples } from "@flick/db/tuples.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { ListRelationsRequest, RelationService } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import type { User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { and, desc, eq, inArray, lt, sql } from "drizzle-orm";
import { alias } from "drizzle-orm/mysql-core";

import { createBatcher } from "../batch.ts";
import { listKind } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { callerKey } from "../interceptors.ts";
import { settlePairs } from "../pairs.ts";
import { checkBatch, cut, pageSize } from "../paging.ts";

const maxList = 100;

interface Follow {
  followerId: number;
  followeeId: number;
}

interface FollowEntry {
  id: number;
  userId: number;
}

const recent = listKind<FollowEntry>({
  encode: ({ id, userId }) => ({ score: id, member: String(userId) }),
  decode: (member, id) => ({ id, userId: Number(member) }),
});

/** Who follows whom, over `follows` and the counts beside it. */
export function createRelationService(context: Context): ServiceImpl<typeof RelationService> {
  const { db, cache, clients, newId } = context;
  const act = createBatcher<Follow & { follow: boolean }, boolean>({ commit });

  return {
    async setFollow(request, { values }: HandlerContext) {
      const { viewerId: followerId } = values.get(callerKey);
      const followeeId = toId(request.userId);
      if (followeeId === followerId) throw flickError(Reason.SELF_FOLLOW, "to_user_id: nobody follows themselves");
      const done = await act({ followerId, followeeId, follow: request.follow });
      if (!done) throw flickError(Reason.USER_NOT_FOUND, "to_user_id: there is no such user");
      return {};
    },

    listFollowing: (request, { values }: HandlerContext) =>
      listUsers(request, values.get(callerKey).viewerId, "following"),

    listFollowers: (request, { values }: HandlerContext) =>
      listUsers(request, values.get(callerKey).viewerId, "followers"),

    async listFriends(request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const userId = Number(request.userId) || viewerId;
      const size = pageSize(request.count, maxList);
      const back = alias(follows, "back");
      const rows = await db
        .select({ id: follows.id, userId: follows.followeeId })
        .from(follows)
        .innerJoin(back, and(eq(back.followerId, follows.followeeId), eq(back.followeeId, follows.followerId)))
        .where(and(eq(follows.followerId, userId), before(request.cursor)))
        .orderBy(desc(follows.id))
        .limit(size + 1);
      const { page, hasMore } = cut(rows, size);
      // The latest message is always the viewer's own, also in a list of somebody else's friends.
      const [users, { messages }] = await Promise.all([
        findUsers(
          page.map((row) => row.userId),
          viewerId,
        ),
        clients.message.batchGetLatestMessages({
          userId: BigInt(viewerId),
          peerIds: page.map((row) => BigInt(row.userId)),
        }),
      ]);
      const friends = users.map((user) => {
        const latest = messages[String(user.id)];
        return { user, message: latest?.content ?? "", sent: latest?.fromUserId === BigInt(viewerId) };
      });
      return { friends, nextCursor: BigInt(page.at(-1)?.id ?? 0), hasMore };
    },

    async batchGetRelations({ userIds, viewerId }) {
      const ids = checkBatch("user_ids", userIds);
      if (ids.length === 0) return {};
      const [counts, mine] = await Promise.all([
        db.select().from(followCounts).where(inArray(followCounts.userId, ids)),
        viewerId > 0n
          ? db
              .select({ userId: follows.followeeId })
              .from(follows)
              .where(and(eq(follows.followerId, Number(viewerId)), inArray(follows.followeeId, ids)))
          : [],
      ]);
      const followed = new Set(mine.map((row) => row.userId));
      const entries = counts.map((row) => {
        const relation = {
          followCount: BigInt(row.followCount),
          followerCount: BigInt(row.followerCount),
          isFollow: followed.has(row.userId),
        };
        return [String(row.userId), relation] as const;
      });
      return { relations: Object.fromEntries(entries) };
    },
  };

  async function listUsers(request: ListRelationsRequest, viewerId: number, which: ListName) {
    const size = pageSize(request.count, maxList);
    const rows = await list(which, Number(request.userId) || viewerId, request.cursor, size + 1);
    const { page, hasMore } = cut(rows, size);
    const users = await findUsers(
      page.map((row) => row.userId),
      viewerId,
    );
    return { users, nextCursor: BigInt(page.at(-1)?.id ?? 0), hasMore };
  }

  /** The first page through the cache. */
  async function list(which: ListName, userId: number, cursor: bigint, limit: number): Promise<FollowEntry[]> {
    if (cursor > 0n) return load(which, userId, limit, cursor);
    const keys = [cacheKeys[which](userId)];
    const [page] = await cache.lists(recent, keys, { limit }, () => load(which, userId, recent.most + 1));
    return page ?? load(which, userId, limit);
  }

  function load(which: ListName, userId: number, limit: number, cursor = 0n): Promise<FollowEntry[]> {
    const { followerId, followeeId } = follows;
    const [mine, theirs] = which === "following" ? [followerId, followeeId] : [followeeId, followerId];
    return db
      .select({ id: follows.id, userId: theirs })
      .from(follows)
      .where(and(eq(mine, userId), before(cursor)))
      .orderBy(desc(follows.id))
      .limit(limit);
  }

  /** In the order of the ids. */
  async function findUsers(ids: number[], viewerId: number): Promise<User[]> {
    const { users } = await clients.user.batchGetUsers({ userIds: ids.map(BigInt), viewerId: BigInt(viewerId) });
    const byId = new Map(users.map((user) => [Number(user.id), user]));
    return ids.flatMap((id) => byId.get(id) ?? []);
  }

  async function commit(actions: readonly (Follow & { follow: boolean })[]): Promise<Promise<boolean>[]> {
    const wanted = [...new Set(actions.filter((action) => action.follow).map((action) => action.followeeId))];
    const { userIds } = await clients.user.batchFindUsers({ userIds: wanted.map(BigInt) });
    const known = new Set(userIds.map(Number));
    const wishes = actions.map(({ followerId, followeeId, follow }) => ({
      pair: pairOf({ followerId, followeeId }),
      wanted: follow,
      row: known.has(followeeId) ? { followerId, followeeId } : null,
    }));
    const { changed, done } = await transact(
      db,
      async (tx) => {
        const existing = await lockPairs(tx, actions);
        const settlement = settlePairs(wishes, new Map(existing.map((row) => [pairOf(row), row])));
        const { inserts, deletes } = settlement;
        if (inserts.length > 0) await insert(tx, inserts);
        if (deletes.length > 0) {
          await tx.execute(sql`DELETE ${follows} FROM ${follows} ${byPair} WHERE ${inPairs(deletes)}`);
        }
        await count(tx, inserts, deletes);
        return { changed: [...inserts, ...deletes], done: settlement.done };
      },
      { retryDuplicates: true },
    );
    const deleted = cache.delete([...new Set(changed.flatMap(keysOf))]);
    return done.map((one) => deleted.then(() => one));
  }

  /** Numbered in the order of the follows, inserted in that of the table, so that two processes do not wait for each other in a circle. */
  async function insert(tx: Transaction, rows: readonly Follow[]): Promise<void> {
    const values = rows
      .map(({ followerId, followeeId }) => [followerId, followeeId, newId()] as const)
      .toSorted(([follower, followee], [other, otherFollowee]) => follower - other || followee - otherFollowee);
    await tx.execute(sql`INSERT INTO ${follows} (follower_id, followee_id, id) VALUES ${tuples(values)}`);
  }
}

type ListName = "following" | "followers";

const keysOf = ({ followerId, followeeId }: Follow) => [
  cacheKeys.isFollow(followerId, followeeId),
  cacheKeys.following(followerId),
  cacheKeys.followers(followeeId),
  cacheKeys.userCounts(followerId),
  cacheKeys.userCounts(followeeId),
];

function lockPairs(tx: Transaction, pairs: readonly Follow[]): Promise<Follow[]> {
  return tx
    .select({ followerId: follows.followerId, followeeId: follows.followeeId })
    .from(follows, { forceIndex: "PRIMARY" })
    .where(inPairs(pairs))
    .orderBy(follows.followerId, follows.followeeId)
    .for("update");
}

async function count(tx: Transaction, inserts: Follow[], deletes: Follow[]): Promise<void> {
  const changes = new CountChanges<"followCount" | "followerCount">();
  for (const [rows, amount] of [
    [inserts, 1],
    [deletes, -1],
  ] as const) {
    for (const { followerId, followeeId } of rows) {
      changes.add(followerId, "followCount", amount);
      changes.add(followeeId, "followerCount", amount);
    }
  }
  await addCounts(tx, followCounts, "userId", ["followCount", "followerCount"], changes);
}

const pairOf = ({ followerId, followeeId }: Follow) => `${followerId}:${followeeId}`;

const before = (cursor: bigint) => (cursor > 0n ? lt(follows.id, Number(cursor)) : undefined);

/** Left alone, MariaDB may look for a batch of pairs by another index: through all followers of somebody popular. */
const byPair = sql.raw("FORCE INDEX (PRIMARY)");

function inPairs(pairs: readonly Follow[]) {
  const rows = pairs.map(({ followerId, followeeId }) => [followerId, followeeId]);
  return sql`(${follows.followerId}, ${follows.followeeId}) IN (${tuples(rows)})`;
}
