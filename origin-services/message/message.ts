import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Transaction } from "@flick/db/client.ts";
import { conversations, messages } from "@flick/db/schema/message.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { MessageService } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import { and, asc, desc, eq, gt, lt, sql, type SQL } from "drizzle-orm";

import { createBatcher } from "../batch.ts";
import { listKind, type ListRange } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { callerKey } from "../interceptors.ts";
import { checkBatch, cut, pageSize } from "../paging.ts";
import { readText } from "../text.ts";

const maxList = 500;
const maxLength = 1000;

type MessageRow = typeof messages.$inferSelect;

interface Draft {
  id: number;
  fromId: number;
  toId: number;
  content: string;
}

const newest = listKind<MessageRow>({
  encode: ({ createTime, id, lowId, highId, fromId, content }) => ({
    score: createTime,
    member: JSON.stringify([id, lowId, highId, fromId, content]),
  }),
  decode(member, createTime) {
    const [id, lowId, highId, fromId, content] = JSON.parse(member) as [number, number, number, number, string];
    return { createTime, id, lowId, highId, fromId, content };
  },
});

/** Chat between two people, over `messages` and `conversations`. */
export function createMessageService(context: Context): ServiceImpl<typeof MessageService> {
  const { db, cache, clients, newId, now } = context;
  const send = createBatcher<Draft, MessageRow | null>({ commit });

  return {
    async sendMessage(request, { values }: HandlerContext) {
      const { viewerId: fromId } = values.get(callerKey);
      const receiverId = toId(request.toUserId);
      if (receiverId === fromId) throw flickError(Reason.SELF_MESSAGE, "to_user_id: nobody writes to themselves");
      const content = readText("content", request.content, maxLength);
      const row = await send({ id: newId(), fromId, toId: receiverId, content });
      if (!row) throw flickError(Reason.USER_NOT_FOUND, "to_user_id: there is no such user");
      return { message: toMessage(row) };
    },

    async listMessages(request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const peerId = Number(request.peerId);
      const between = isBetween(pairOf(viewerId, peerId));
      const size = pageSize(request.count, maxList);
      if (request.afterMs > 0n) {
        const afterMs = Number(request.afterMs);
        const rows =
          (await cachedAfter(viewerId, peerId, afterMs)) ??
          (await db
            .select()
            .from(messages)
            .where(and(between, eq(messages.fromId, peerId), gt(messages.createTime, afterMs)))
            .orderBy(asc(messages.createTime))
            .limit(size + 1));
        const { page, hasMore } = cut(rows, size);
        return { messages: page.map(toMessage), nextCursor: BigInt(page.at(-1)?.createTime ?? 0), hasMore };
      }
      // The newest page first, as somebody who opens a chat wants it; the cursor leads to the older ones.
      const cursor = Number(request.cursor);
      const cached = cursor === 0 ? await readCache(viewerId, peerId, { limit: size + 1 }) : null;
      const { page, hasMore } = cut(cached ?? (await load(between, size + 1, cursor)), size);
      return { messages: page.toReversed().map(toMessage), nextCursor: BigInt(page.at(-1)?.createTime ?? 0), hasMore };
    },

    async batchGetLatestMessages(request) {
      const userId = Number(request.userId);
      const peers = checkBatch("peer_ids", request.peerIds);
      if (peers.length === 0) return {};
      const rows = await db
        .select()
        .from(conversations)
        .where(inPairs(peers.map((peer) => pairOf(userId, peer))));
      const entries = rows.map((row) => {
        const { lowId, highId, lastId: id, lastFromId: fromId, lastContent: content, lastTime: createTime } = row;
        const peer = lowId === userId ? highId : lowId;
        return [String(peer), toMessage({ id, lowId, highId, fromId, content, createTime })] as const;
      });
      return { messages: Object.fromEntries(entries) };
    },
  };

  function readCache(viewerId: number, peerId: number, range: ListRange): Promise<MessageRow[] | null> {
    const keys = [cacheKeys.messages(viewerId, peerId)];
    const loadNewest = () => load(isBetween(pairOf(viewerId, peerId)), newest.most + 1);
    return cache.lists(newest, keys, range, loadNewest).then(([rows]) => rows ?? null);
  }

  /** What the peer has sent since then, oldest first; null when the cache does not reach back so far. */
  async function cachedAfter(viewerId: number, peerId: number, afterMs: number): Promise<MessageRow[] | null> {
    const rows = await readCache(viewerId, peerId, { above: afterMs, limit: newest.most + 1 });
    return rows?.filter(({ fromId }) => fromId === peerId).toReversed() ?? null;
  }

  function load(between: SQL | undefined, limit: number, cursor = 0): Promise<MessageRow[]> {
    return db
      .select()
      .from(messages)
      .where(and(between, cursor > 0 ? lt(messages.createTime, cursor) : undefined))
      .orderBy(desc(messages.createTime))
      .limit(limit);
  }

  async function commit(drafts: readonly Draft[]): Promise<readonly (Promise<MessageRow | null> | null)[]> {
    const receivers = [...new Set(drafts.map((draft) => draft.toId))];
    const { userIds } = await clients.user.batchFindUsers({ userIds: receivers.map(BigInt) });
    const known = new Set(userIds.map(Number));
    const accepted = drafts.filter((draft) => known.has(draft.toId));
    if (accepted.length === 0) return drafts.map(() => null);
    const pairs = new Map(
      accepted.map((draft) => [keyOf(pairOf(draft.fromId, draft.toId)), pairOf(draft.fromId, draft.toId)]),
    );
    const sent = await transact(db, async (tx) => {
      const lastTimes = await takeTurns(tx, [...pairs.values()]);
      const latest = new Map<string, MessageRow>();
      const rows = drafts.map((draft) => {
        if (!known.has(draft.toId)) return null;
        const pair = pairOf(draft.fromId, draft.toId);
        const key = keyOf(pair);
        const createTime = Math.max(now(), (lastTimes.get(key) ?? 0) + 1);
        lastTimes.set(key, createTime);
        const row = { ...pair, id: draft.id, fromId: draft.fromId, content: draft.content, createTime };
        latest.set(key, row);
        return row;
      });
      await tx.insert(messages).values(rows.filter((row) => row !== null));
      await storeLatest(tx, [...latest.values()]);
      return rows;
    });
    const deleted = cache.delete([...pairs.values()].map(({ lowId, highId }) => cacheKeys.messages(lowId, highId)));
    return sent.map((row) => deleted.then(() => row));
  }
}

interface Pair {
  lowId: number;
  highId: number;
}

const pairOf = (one: number, other: number): Pair => ({ lowId: Math.min(one, other), highId: Math.max(one, other) });
const keyOf = ({ lowId, highId }: Pair) => `${lowId}:${highId}`;
const isBetween = ({ lowId, highId }: Pair) => and(eq(messages.lowId, lowId), eq(messages.highId, highId));

/**
 * Locks the conversations, making those that are missing: whoever sends next into one of them waits, and so no message can
 * become visible after one with a later time. Gives the time of each one's last message, 0 where there is none.
 */
async function takeTurns(tx: Transaction, pairs: Pair[]): Promise<Map<string, number>> {
  const ordered = pairs.toSorted((one, other) => one.lowId - other.lowId || one.highId - other.highId);
  await tx
    .insert(conversations)
    .values(ordered.map((pair) => ({ ...pair, lastId: 0, lastFromId: 0, lastContent: "", lastTime: 0 })))
    .onDuplicateKeyUpdate({ set: { lastId: sql`${conversations.lastId}` } });
  const rows = await tx.select().from(conversations).where(inPairs(ordered)).for("update");
  return new Map(rows.map((row) => [keyOf(row), row.lastTime]));
}

async function storeLatest(tx: Transaction, rows: MessageRow[]): Promise<void> {
  const values = rows
    .toSorted((one, other) => one.lowId - other.lowId || one.highId - other.highId)
    .map((row) => ({
      lowId: row.lowId,
      highId: row.highId,
      lastId: row.id,
      lastFromId: row.fromId,
      lastContent: row.content,
      lastTime: row.createTime,
    }));
  await tx
    .insert(conversations)
    .values(values)
    .onDuplicateKeyUpdate({
      set: {
        lastId: sql`VALUES(${sql.identifier("last_id")})`,
        lastFromId: sql`VALUES(${sql.identifier("last_from_id")})`,
        lastContent: sql`VALUES(${sql.identifier("last_content")})`,
        lastTime: sql`VALUES(${sql.identifier("last_time")})`,
      },
    });
}

function inPairs(pairs: Pair[]) {
  const rows = pairs.map(({ lowId, highId }) => sql`(${lowId}, ${highId})`);
  return sql`(${conversations.lowId}, ${conversations.highId}) IN (${sql.join(rows, sql`, `)})`;
}

function toMessage(row: MessageRow) {
  return {
    id: BigInt(row.id),
    fromUserId: BigInt(row.fromId),
    toUserId: BigInt(row.fromId === row.lowId ? row.highId : row.lowId),
    content: row.content,
    createTime: BigInt(row.createTime),
  };
}
