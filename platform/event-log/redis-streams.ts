import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

import type { Log } from "../log.ts";
import { createRedisConnection } from "../redis-connection.ts";
import { runScript } from "../redis-script.ts";
import type { DeadLetter, EventLog, ReceivedEvent, Subscription } from "./event-log.ts";
import { checkRecords, checkTopic } from "./limits.ts";
import { lagScript, publishScript, redisKeys, replayScript } from "./redis-scripts.ts";
import { joinGroup, type Entry } from "./redis-subscription.ts";

export interface RedisStreamsOptions {
  /** `redis://` or `rediss://`, Redis 7.0 or newer. */
  url: string;
  log: Log;
  /**
   * A name that no other living process has. When this one joins a group, it takes over at once what a dead process of the same name
   * held there, which would wait for `takeOverMs` otherwise. If that one lives after all, records come twice and none is lost.
   */
  processName?: string | undefined;
  /**
   * Records that a topic keeps at least, default 100 000; a few more are kept where that is cheaper. Older ones go, also when a
   * group has not read them: it then says so in the log.
   */
  maxLength?: number;
  /** Milliseconds without a sign of life after which a member's records go to another, default 15 000. */
  takeOverMs?: number;
  /** Milliseconds without a sign of life after which a member that holds nothing is forgotten, default 10 minutes. */
  deadMemberMs?: number;
  /** Milliseconds that a command waits for a connection and then for its answer, default 5 000. */
  commandTimeoutMs?: number;
}

/** Dead letters moved in one atomic step, during which Redis does nothing else. */
const replayStep = 100;

/**
 * The event log on Redis Streams, for a single machine; `redis-scripts.ts` tells how it lies in Redis.
 *
 * - It is as durable as Redis' append-only file: a killed Redis loses nothing, a power cut with `appendfsync everysec` up to a
 *   second, of everything alike.
 * - Records of one key keep their order within a member of a group; several members work on one key side by side.
 * - An attempt counts when a member takes a record, so that one that kills its handlers' process becomes a dead letter too.
 */
export function createRedisStreamsEventLog(options: RedisStreamsOptions): EventLog {
  const { url, log, processName, maxLength = 100_000, takeOverMs = 15_000, deadMemberMs = 10 * 60_000 } = options;
  const timeoutMs = options.commandTimeoutMs ?? 5_000;
  const commands = createRedisConnection({ url, log, timeoutMs });
  const subscriptions = new Set<Subscription>();
  // A container that is started again has the same host name, and its processes may have the same ids.
  const incarnation = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}-`;
  const memberPrefix = processName === undefined ? incarnation : `${processName}@${incarnation}`;

  return {
    async publish(records) {
      if (records.length === 0) return;
      checkRecords(records);
      const numbers = new Map<string, number>();
      const args: (string | number)[] = [maxLength];
      for (const { topic, key, value } of records) {
        const stream = redisKeys.stream(topic);
        const number = numbers.get(stream) ?? numbers.size + 1;
        numbers.set(stream, number);
        args.push(number, key, value);
      }
      await runScript(commands, publishScript, [...numbers.keys()], args);
    },

    async last(topic) {
      checkTopic(topic);
      const reply = await commands.send("XREVRANGE", [redisKeys.stream(topic), "+", "-", "COUNT", "1"]);
      const [newest] = reply as Entry[];
      return newest ? received(topic, newest) : null;
    },

    async subscribe(subscribeOptions) {
      subscribeOptions.topics.forEach(checkTopic);
      // The shared connection already says when Redis is away.
      const reads = createRedisConnection({ url, log: { ...log, info: log.debug, warn: log.debug }, timeoutMs });
      const context = { commands, reads, log, processName, memberPrefix, takeOverMs, deadMemberMs, maxLength };
      try {
        const joined = await joinGroup(context, subscribeOptions);
        const subscription: Subscription = {
          close: (drainMs) => joined.close(drainMs).finally(() => subscriptions.delete(subscription)),
        };
        subscriptions.add(subscription);
        return subscription;
      } catch (error) {
        reads.close();
        throw error;
      }
    },

    async lag(topic, group) {
      const keys = [redisKeys.stream(topic), redisKeys.retries(topic, group)];
      return (await runScript(commands, lagScript, keys, [group])) as number;
    },

    async groups(topic) {
      checkTopic(topic);
      const stream = redisKeys.stream(topic);
      if ((await commands.send("EXISTS", [stream])) === 0) return [];
      const groups = (await commands.send("XINFO", ["GROUPS", stream])) as { name: string }[];
      return groups.map(({ name }) => name).toSorted();
    },

    async deadLetters(topic, limit) {
      const reply = await commands.send("XRANGE", [redisKeys.deadLetters(topic), "-", "+", "COUNT", `${limit}`]);
      return (reply as Entry[]).map((entry) => deadLetter(topic, entry));
    },

    async replay(topic, limit) {
      const keys = [redisKeys.deadLetters(topic), redisKeys.stream(topic)];
      let replayed = 0;
      for (let moved = 1; moved > 0 && replayed < limit; replayed += moved) {
        const most = Math.min(replayStep, limit - replayed);
        moved = (await runScript(commands, replayScript, keys, [most, maxLength])) as number;
      }
      return replayed;
    },

    createTopics: () => Promise.resolve([]),
    checkTopics: () => Promise.resolve(),

    async close() {
      await Promise.all([...subscriptions].map((subscription) => subscription.close()));
      commands.close();
    },
  };
}

function received(topic: string, [id, [, key = "", , value = ""]]: Entry): ReceivedEvent {
  return { topic, key, value, id, attempt: 1 };
}

function deadLetter(topic: string, entry: Entry): DeadLetter {
  const { id, key, value } = received(topic, entry);
  const fields = new Map<string, string>();
  for (let i = 4; i < entry[1].length; i += 2) fields.set(entry[1][i] ?? "", entry[1][i + 1] ?? "");
  return {
    topic,
    key,
    value,
    id,
    group: fields.get("group") ?? "",
    origin: fields.get("origin") ?? "",
    attempts: Number(fields.get("attempts")),
    reason: fields.get("reason") ?? "",
    failedAt: Number(fields.get("failedAt")),
  };
}
