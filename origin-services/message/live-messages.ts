import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import type { Log } from "@flick/platform/log.ts";
import * as v from "valibot";

import { readLiveChanges, type LiveChanges } from "../live-changes.ts";

export interface LiveMessage {
  id: number;
  fromId: number;
  toId: number;
  content: string;
  /** Milliseconds since 1970. */
  createTime: number;
}

/** Tells the listeners of a user every message to them. */
export type LiveMessages = LiveChanges<LiveMessage>;

export function readLiveMessages(options: { events: EventLog; nodeId: number; log: Log }): LiveMessages {
  const { events, nodeId, log } = options;
  return readLiveChanges({
    events,
    group: `chat-${nodeId}`,
    topics: ["cdc.messages"],
    log,
    read(change) {
      if (change.op !== "c") return null;
      const { id: messageId, low_id, high_id, from_id, content, create_time } = v.parse(row, change.after);
      const toId = from_id === low_id ? high_id : low_id;
      const told = { id: messageId, fromId: from_id, toId, content, createTime: create_time };
      return { userId: toId, told };
    },
  });
}

const id = v.pipe(v.union([v.number(), v.string()]), v.transform(Number), v.safeInteger());
const row = v.object({ id, low_id: id, high_id: id, from_id: id, content: v.string(), create_time: id });
