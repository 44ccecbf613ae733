import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { streamPath } from "@flick/proto/stream.ts";

import type { Context } from "../context.ts";
import {
  createEventStreams,
  type EventStream,
  type EventStreams,
  type Feeding,
  type StreamLimits,
} from "../event-streams.ts";
import { publicError, type Identities } from "../interceptors.ts";
import type { LiveMessage, LiveMessages } from "./live-messages.ts";
import { readMissed, type Listener } from "./missed-messages.ts";
import { createStreamCursor, readStreamPosition, type StreamPosition } from "./stream-cursor.ts";

type StreamContext = Pick<Context, "db" | "log" | "now">;

export interface StreamOptions {
  identities: Identities;
  live: LiveMessages;
  limits?: Partial<StreamLimits>;
}

/** Messages read at once for who comes back, and messages that may come meanwhile. */
const missedPage = 100;
const maxPending = 1_000;

interface Asked {
  listener: Listener;
  /** Null: from now on. */
  from: StreamPosition | null;
}

/** The live stream of messages of proto/stream.ts. */
export function createMessageStreams(
  context: StreamContext,
  { identities, live, limits }: StreamOptions,
): EventStreams {
  return createEventStreams<Asked>(context, {
    path: streamPath,
    identities,
    limits,
    read(viewerId, query) {
      const peerId = Number(query.get("peer_id") ?? 0);
      if (!Number.isSafeInteger(peerId) || peerId < 0) {
        throw flickError(Reason.INVALID_PARAMETER, "peer_id: must be an id, or 0 for everybody");
      }
      const since = query.get("since");
      return { listener: { viewerId, peerId }, from: since && since !== "0" ? readStreamPosition(since) : null };
    },
    feed: (asked, stream) => feedMessages(context, asked, live, stream),
  });
}

/**
 * Listens first and reads what was missed then, so that nothing falls between the two; what both have, the cursor lets through once.
 */
function feedMessages(context: StreamContext, asked: Asked, live: LiveMessages, stream: EventStream): Feeding {
  const { log, now } = context;
  const { listener, from } = asked;
  const { viewerId, peerId } = listener;
  const cursor = createStreamCursor(from ?? { after: now() - 1, came: [] }, { exact: peerId > 0, now });
  /** What comes while the missed messages are read. */
  let pending: LiveMessage[] | null = [];

  const stopListening = live.listen(viewerId, (message) => {
    if (peerId > 0 && message.fromId !== peerId) return;
    if (!pending) send(message);
    else if (pending.push(message) > maxPending) stream.end("too many messages at once");
  });
  void begin();

  async function begin(): Promise<void> {
    try {
      if (from) await sendMissed(from.after);
      const waiting = pending ?? [];
      pending = null;
      waiting.forEach(send);
    } catch (error) {
      publicError(error, log, { method: streamPath, requestId: undefined });
      stream.end("messages cannot be read at the moment");
    }
  }

  /** At the pace at which the client takes them. */
  async function sendMissed(afterTime: number): Promise<void> {
    let after = { time: afterTime, id: Number.MAX_SAFE_INTEGER };
    while (stream.isOpen()) {
      const page = await readMissed(context, listener, after, missedPage);
      page.forEach(send);
      const last = page.at(-1);
      if (!last || page.length < missedPage) return;
      after = { time: last.createTime, id: last.id };
      await stream.whenTaken();
    }
  }

  function send(message: LiveMessage): void {
    if (stream.isOpen() && cursor.accept(message)) stream.send({ id: cursor.id(), data: messageObject(message) });
  }

  return {
    stop() {
      pending = null;
      stopListening();
    },
  };
}

/** As the public API shows it; ids are below 2^53. */
function messageObject({ id, toId, fromId, content, createTime }: LiveMessage): Record<string, number | string> {
  return { id, to_user_id: toId, from_user_id: fromId, content, create_time: createTime };
}
