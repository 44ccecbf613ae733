import { conversations, messages } from "@flick/db/schema/message.ts";
import { and, asc, eq, gt, gte, ne, or } from "drizzle-orm";

import type { Context } from "../context.ts";
import type { LiveMessage } from "./live-messages.ts";

/** A place in the order of times; of messages of one time the ids decide. */
export interface MissedAfter {
  time: number;
  id: number;
}

/** A viewer, and the one person whose messages are wanted (0: everybody's). */
export interface Listener {
  viewerId: number;
  peerId: number;
}

type MessageRow = typeof messages.$inferSelect;

/**
 * Reads what was sent to a viewer after a place, oldest first, at most `limit` messages. Everybody's are found by the viewer's
 * conversations, those where they are the lower id and those where they are the higher.
 */
export async function readMissed(
  { db }: Pick<Context, "db">,
  { viewerId, peerId }: Listener,
  after: MissedAfter,
  limit: number,
): Promise<LiveMessage[]> {
  const later = and(
    gte(messages.createTime, after.time),
    or(gt(messages.createTime, after.time), gt(messages.id, after.id)),
  );
  if (peerId > 0) {
    const low = Math.min(viewerId, peerId);
    const high = Math.max(viewerId, peerId);
    const rows = await db
      .select()
      .from(messages)
      .where(and(eq(messages.lowId, low), eq(messages.highId, high), eq(messages.fromId, peerId), later))
      .orderBy(asc(messages.createTime))
      .limit(limit);
    return rows.map(toLive);
  }
  const sides = [conversations.lowId, conversations.highId].map((mine) =>
    db
      .select({ message: messages })
      .from(conversations)
      .innerJoin(messages, and(eq(messages.lowId, conversations.lowId), eq(messages.highId, conversations.highId)))
      .where(and(eq(mine, viewerId), gte(conversations.lastTime, after.time), ne(messages.fromId, viewerId), later))
      .orderBy(asc(messages.createTime), asc(messages.id))
      .limit(limit),
  );
  const rows = (await Promise.all(sides)).flat().map(({ message }) => toLive(message));
  return rows.toSorted((one, other) => one.createTime - other.createTime || one.id - other.id).slice(0, limit);
}

function toLive({ id, lowId, highId, fromId, content, createTime }: MessageRow): LiveMessage {
  return { id, fromId, toId: fromId === lowId ? highId : lowId, content, createTime };
}
