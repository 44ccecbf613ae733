import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import type { Log } from "../log.ts";
import { isRedisError, type RedisConnection } from "../redis-connection.ts";
import { runScript } from "../redis-script.ts";
import type { ReceivedEvent, SubscribeOptions, Subscription } from "./event-log.ts";
import {
  buryScript,
  leaveScript,
  redisKeys,
  retryScript,
  succeedScript,
  sweepScript,
  takeScript,
  touchScript,
} from "./redis-scripts.ts";

/** How long a read waits for news, and so the longest delay until a record that was given back is seen. */
const pollMs = 500;
const sweepEveryMs = 10_000;
const longestReason = 1_000;

interface SubscriptionContext {
  /** For everything but the blocking reads; shared. */
  commands: RedisConnection;
  /** For the blocking reads; closed with the subscription. */
  reads: RedisConnection;
  log: Log;
  processName: string | undefined;
  /** Begins the names of all members of this event log, and of no other. */
  memberPrefix: string;
  takeOverMs: number;
  deadMemberMs: number;
  maxLength: number;
}

/** A record in this member's hands: read, and not yet settled. */
interface Held {
  event: ReceivedEvent;
  state: "waiting" | "at work" | "settling";
}

/**
 * Joins a consumer group as a new member and works until closed. One loop takes records, at most twice as many as handlers may
 * run; a timer touches what is held, so that a long handler is not taken for a dead one.
 */
export async function joinGroup(context: SubscriptionContext, options: SubscribeOptions): Promise<Subscription> {
  const { commands, reads, takeOverMs } = context;
  const { group, topics, handler, concurrency = 16, retryDelaysMs = [1_000, 5_000, 30_000] } = options;
  const member = `${context.memberPrefix}${randomUUID().slice(0, 8)}`;
  const log = context.log;
  const onError = options.onError ?? logFailure(log, group);
  const capacity = Math.max(2 * concurrency, topics.length);
  const topicOf = new Map(topics.map((topic) => [redisKeys.stream(topic), topic]));

  const held = new Map<string, Held>();
  /** Order keys of the records whose handlers are at work. */
  const busy = new Set<string>();
  const leaving = new AbortController();
  const left = new AbortController();
  let settled = Promise.withResolvers<void>();
  let closed: Promise<void> | undefined;
  let readerId: unknown;

  await createGroups();
  await sweep();
  await succeed();
  const touching = setInterval(() => void touch().catch(() => {}), takeOverMs / 3);
  const sweeping = setInterval(() => void sweep().catch(() => {}), sweepEveryMs);
  const reading = read();

  return {
    close(drainMs = 10_000) {
      closed ??= leave(drainMs);
      return closed;
    },
  };

  async function read(): Promise<void> {
    let takeAt = 0;
    for (let failures = 0; !leaving.signal.aborted;) {
      try {
        if (Date.now() >= takeAt) takeAt = Date.now() + (await takeOver());
        const room = capacity - held.size;
        if (room < topics.length) {
          await Promise.race([settled.promise, pause(pollMs)]);
        } else {
          await readNew(Math.floor(room / topics.length), Math.max(1, Math.min(pollMs, takeAt - Date.now())));
        }
        failures = 0;
      } catch (error) {
        if (leaving.signal.aborted) break;
        // The connection itself says when it is lost and when it is back.
        if (isRedisError(error)) log.error("cannot read from the event log, trying again", { group, error });
        if (isRedisError(error, "NOGROUP")) await createGroups().catch(() => {});
        await pause(Math.min(2_000, 50 * 2 ** failures++));
      }
    }
  }

  async function readNew(most: number, blockMs: number): Promise<void> {
    // Asked anew each time, because a connection that came back has another id.
    void reads.send("CLIENT", ["ID"]).then(
      (id) => (readerId = id),
      () => {},
    );
    const streams = [...topicOf.keys()];
    const args = ["GROUP", group, member, "COUNT", `${most}`, "BLOCK", `${Math.ceil(blockMs)}`, "STREAMS", ...streams];
    const reply = await reads.send("XREADGROUP", [...args, ...streams.map(() => ">")], blockMs + 5_000);
    for (const [stream, entries] of Object.entries((reply ?? {}) as Record<string, Entry[]>)) {
      for (const entry of entries) admit(topicOf.get(stream) ?? "", entry, 1);
    }
    startWaiting();
  }

  /**
   * Takes due retries and the records of lost members. After an outage, living members first get the time to touch theirs.
   * @returns milliseconds until it is worth doing again.
   */
  async function takeOver(): Promise<number> {
    const outageIsFresh = Date.now() < commands.cameBackAt() + takeOverMs;
    let againInMs = pollMs;
    for (const topic of topics) {
      const room = capacity - held.size;
      if (room <= 0) break;
      const keys = [redisKeys.stream(topic), redisKeys.retries(topic, group)];
      const args = [group, member, room, outageIsFresh ? "" : takeOverMs];
      const reply = await runScript(commands, takeScript, keys, args);
      const [entries, attempts, trimmed, now, nextDue] = reply as [Entry[], number[], number, number, string];
      if (trimmed > 0) log.error("records were trimmed away before they could be retried", { topic, group, trimmed });
      entries.forEach((entry, i) => admit(topic, entry, attempts[i] ?? 1));
      if (nextDue !== "") againInMs = Math.min(againInMs, Math.max(0, Number(nextDue) - now));
    }
    startWaiting();
    return againInMs;
  }

  function admit(topic: string, [id, [, key = "", , value = ""]]: Entry, attempt: number): void {
    const name = `${topic} ${id}`;
    if (!held.has(name)) held.set(name, { event: { topic, key, value, id, attempt }, state: "waiting" });
  }

  /** Starts handlers in the order of arrival, skipping records whose key is at work. */
  function startWaiting(): void {
    for (const record of held.values()) {
      if (leaving.signal.aborted || busy.size >= concurrency) return;
      const orderKey = `${record.event.topic} ${record.event.key}`;
      if (record.state !== "waiting" || busy.has(orderKey)) continue;
      busy.add(orderKey);
      record.state = "at work";
      void handle(record).finally(() => {
        busy.delete(orderKey);
        held.delete(`${record.event.topic} ${record.event.id}`);
        settled.resolve();
        settled = Promise.withResolvers();
        startWaiting();
      });
    }
  }

  async function handle(record: Held): Promise<void> {
    const { event } = record;
    try {
      // It counts up to here only when the members that held it died: their handlers may be what killed them.
      if (event.attempt > retryDelaysMs.length + 1) throw new Error("no member that took it lived to answer");
      await handler(event, left.signal);
    } catch (error) {
      record.state = "settling";
      if (!left.signal.aborted) await fail(event, error);
      return;
    }
    record.state = "settling";
    await settle(() => commands.send("XACK", [redisKeys.stream(event.topic), group, event.id]));
  }

  async function fail(event: ReceivedEvent, error: unknown): Promise<void> {
    const delayMs = retryDelaysMs[event.attempt - 1];
    try {
      onError(event, error, delayMs === undefined ? "dead letter" : "retry");
    } catch (reportError) {
      log.error("onError of a subscription threw", { group, error: reportError });
    }
    const stream = redisKeys.stream(event.topic);
    const holder = [group, member, event.id, event.attempt];
    if (delayMs !== undefined) {
      const keys = [stream, redisKeys.retries(event.topic, group)];
      await settle(() => runScript(commands, retryScript, keys, [...holder, delayMs]));
      return;
    }
    const keys = [stream, redisKeys.deadLetters(event.topic)];
    const reason = (error instanceof Error ? error.message : String(error)).slice(0, longestReason);
    const letter = [...holder, context.maxLength, event.key, event.value, reason];
    await settle(() => runScript(commands, buryScript, keys, letter));
  }

  /** A record stays held (and counts against the capacity) until Redis has heard what became of it. */
  async function settle(tell: () => Promise<unknown>): Promise<void> {
    for (let failures = 0; !left.signal.aborted; failures++) {
      try {
        await tell();
        return;
      } catch (error) {
        if (isRedisError(error)) {
          log.error("Redis refused to settle a record; it will be delivered again", { group, error });
          return;
        }
        await sleep(Math.min(2_000, 50 * 2 ** failures), undefined, { signal: left.signal }).catch(() => {});
      }
    }
  }

  async function touch(): Promise<void> {
    for (const topic of topics) {
      const mine = [...held].filter(([, { event, state }]) => event.topic === topic && state !== "settling");
      if (mine.length === 0) continue;
      const ids = mine.map(([, { event }]) => event.id);
      const kept = (await runScript(
        commands,
        touchScript,
        [redisKeys.stream(topic)],
        [group, member, ...ids],
      )) as string[];
      const lost = mine.filter(([name, { event, state }]) => {
        return held.has(name) && state !== "settling" && !kept.includes(event.id);
      });
      for (const [name, { state }] of lost) if (state === "waiting") held.delete(name);
      if (lost.length > 0) log.warn("another member took records over", { topic, group, records: lost.length });
    }
  }

  async function createGroups(): Promise<void> {
    for (const topic of topics) {
      try {
        await commands.send("XGROUP", ["CREATE", redisKeys.stream(topic), group, "0", "MKSTREAM"]);
      } catch (error) {
        if (!isRedisError(error, "BUSYGROUP")) throw error;
      }
    }
  }

  async function sweep(): Promise<void> {
    for (const topic of topics) {
      const trimmed = await runScript(commands, sweepScript, [redisKeys.stream(topic)], [group, context.deadMemberMs]);
      if (trimmed !== 0) log.error("records were trimmed away before the group read them", { topic, group, trimmed });
    }
  }

  /** Makes due what a dead process of this one's name held, before anything new is read: it is older. */
  async function succeed(): Promise<void> {
    const { processName, memberPrefix } = context;
    if (processName === undefined) return;
    let records = 0;
    for (const topic of topics) {
      const keys = [redisKeys.stream(topic), redisKeys.retries(topic, group)];
      records += (await runScript(commands, succeedScript, keys, [group, processName, memberPrefix])) as number;
    }
    if (records > 0) {
      log.info("records are taken over from a process of this one's name that has ended", { group, records });
    }
  }

  async function leave(drainMs: number): Promise<void> {
    leaving.abort();
    // Ends a blocking read early; without it the read ends by itself after pollMs.
    void commands.send("CLIENT", ["UNBLOCK", String(readerId)]).catch(() => {});
    const drained = (async () => {
      await reading;
      while (busy.size > 0) await settled.promise;
    })();
    await atMost(drainMs, drained);
    clearInterval(touching);
    clearInterval(sweeping);
    left.abort(new Error("the subscription was closed"));
    reads.close();
    await atMost(2_000, Promise.all(topics.map(giveBack)));
  }

  async function giveBack(topic: string): Promise<void> {
    const keys = [redisKeys.stream(topic), redisKeys.retries(topic, group)];
    await runScript(commands, leaveScript, keys, [group, member]).catch((error: unknown) => {
      log.warn("records could not be given back; they are taken over when their time is up", { topic, group, error });
    });
  }

  function pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: leaving.signal }).catch(() => {});
  }
}

/** An id, and the flat list of its fields: `k`, the key, `v`, the value. */
export type Entry = [id: string, fields: string[]];

/** Waits for the work, but not longer; it then goes on by itself. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  await Promise.race([work.finally(() => done.abort()), sleep(ms, undefined, { signal: done.signal }).catch(() => {})]);
}

function logFailure(log: Log, group: string): NonNullable<SubscribeOptions["onError"]> {
  return ({ topic, id, attempt }, error, outcome) => {
    log.warn("a record could not be handled", { topic, group, id, attempt, outcome, error });
  };
}
