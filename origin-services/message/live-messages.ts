import { setTimeout as sleep } from "node:timers/promises";

import { decodeChange } from "@flick/platform/cdc/change-event.ts";
import type { EventLog, ReceivedEvent, Subscription } from "@flick/platform/event-log/event-log.ts";
import type { Log } from "@flick/platform/log.ts";
import * as v from "valibot";

export interface LiveMessage {
  id: number;
  fromId: number;
  toId: number;
  content: string;
  /** Milliseconds since 1970. */
  createTime: number;
}

export interface LiveMessages {
  /** Calls the listener with every message to the user from now on, until the function that it gives back is called. */
  listen(userId: number, listener: (message: LiveMessage) => void): () => void;
  close(): Promise<void>;
}

const messagesTopic = "cdc.messages";
const rejoinMs = 2_000;
const closeMs = 1_000;
/** Records taken at once. Handlers never wait, so this is only how fast a backlog goes by. */
const concurrency = 256;

/**
 * The one reader of the message changes in this process, for all who listen here. Every process needs every message, so each has a
 * consumer group of its own, named after its node. A listener may be told of a message more than once, and of old ones when the
 * process was away.
 */
export function readLiveMessages({
  events,
  nodeId,
  log,
}: {
  events: EventLog;
  nodeId: number;
  log: Log;
}): LiveMessages {
  const listeners = new Map<number, Set<(message: LiveMessage) => void>>();
  const closing = new AbortController();
  let subscription: Subscription | undefined;
  const joined = join();

  /** Tries until it succeeds: without the event log there is no live stream, but everything else works. */
  async function join(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted; failures++) {
      try {
        subscription = await events.subscribe({
          group: `chat-${nodeId}`,
          topics: [messagesTopic],
          concurrency,
          // Not async: it tells everybody before another record's turn comes.
          handler: (event) => Promise.resolve(tell(event)),
        });
        return;
      } catch (error) {
        if (failures === 0 && !closing.signal.aborted) log.warn("live messages: no event log, trying again", { error });
        await sleep(rejoinMs, undefined, { signal: closing.signal }).catch(() => {});
      }
    }
  }

  function tell(event: ReceivedEvent): void {
    const message = readMessage(event, log);
    if (!message) return;
    for (const listener of listeners.get(message.toId) ?? []) listener(message);
  }

  return {
    listen(userId, listener) {
      const mine = listeners.get(userId) ?? new Set();
      listeners.set(userId, mine.add(listener));
      return () => {
        mine.delete(listener);
        if (mine.size === 0 && listeners.get(userId) === mine) listeners.delete(userId);
      };
    },
    async close() {
      closing.abort();
      await Promise.race([joined, sleep(closeMs)]);
      await subscription?.close(closeMs);
    },
  };
}

const id = v.pipe(v.union([v.number(), v.string()]), v.transform(Number), v.safeInteger());
const row = v.object({ id, low_id: id, high_id: id, from_id: id, content: v.string(), create_time: id });

/** Null for what is no new message; a record that cannot be read is left out, because it will not become better. */
function readMessage(event: ReceivedEvent, log: Log): LiveMessage | null {
  try {
    const change = decodeChange(event.value);
    if (change.op !== "c") return null;
    const { id: messageId, low_id, high_id, from_id, content, create_time } = v.parse(row, change.after);
    const toId = from_id === low_id ? high_id : low_id;
    return { id: messageId, fromId: from_id, toId, content, createTime: create_time };
  } catch (error) {
    const problem = error instanceof v.ValiError ? "a column is not as expected" : error;
    log.warn("live messages: a record cannot be read", { topic: event.topic, record: event.id, problem });
    return null;
  }
}
