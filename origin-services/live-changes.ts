import { setTimeout as sleep } from "node:timers/promises";

import { decodeChange, type Change } from "@flick/platform/cdc/change-event.ts";
import type { EventLog, ReceivedEvent, Subscription } from "@flick/platform/event-log/event-log.ts";
import type { Log } from "@flick/platform/log.ts";
import * as v from "valibot";

export interface LiveChanges<Told> {
  /** Calls the listener with everything for the user from now on, until the function that it gives back is called. */
  listen(userId: number, listener: (told: Told) => void): () => void;
  close(): Promise<void>;
}

export interface LiveChangesOptions<Told> {
  events: EventLog;
  /** Of this process alone: every process needs every change. */
  group: string;
  topics: readonly string[];
  /** What listeners are told of a change, and whose listeners; null for nobody's. @throws when it cannot be read. */
  read: (change: Change) => { userId: number; told: Told } | null;
  log: Log;
}

const rejoinMs = 2_000;
const closeMs = 1_000;
/** Records taken at once. Handlers never wait, so this is only how fast a backlog goes by. */
const concurrency = 256;

/**
 * The one reader of the changes of some tables in this process, for all who listen here. A listener may be told of a change more than once,
 * and of old ones when the process was away.
 */
export function readLiveChanges<Told>(options: LiveChangesOptions<Told>): LiveChanges<Told> {
  const { events, group, topics, log } = options;
  const listeners = new Map<number, Set<(told: Told) => void>>();
  const closing = new AbortController();
  let subscription: Subscription | undefined;
  const joined = join();

  /** Tries until it succeeds: without the event log nothing is told, but everything else works. */
  async function join(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted; failures++) {
      try {
        subscription = await events.subscribe({
          group,
          topics: [...topics],
          concurrency,
          // Not async: it tells everybody before another record's turn comes.
          handler: (event) => Promise.resolve(tell(event)),
        });
        return;
      } catch (error) {
        if (failures === 0 && !closing.signal.aborted) log.warn(`${group}: no event log, trying again`, { error });
        await sleep(rejoinMs, undefined, { signal: closing.signal }).catch(() => {});
      }
    }
  }

  function tell(event: ReceivedEvent): void {
    const found = readEvent(event);
    if (!found) return;
    for (const listener of listeners.get(found.userId) ?? []) listener(found.told);
  }

  /** A record that cannot be read is left out, because it will not become better. */
  function readEvent(event: ReceivedEvent) {
    try {
      return options.read(decodeChange(event.value));
    } catch (error) {
      const problem = error instanceof v.ValiError ? "a column is not as expected" : error;
      log.warn(`${group}: a record cannot be read`, { topic: event.topic, record: event.id, problem });
      return null;
    }
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
