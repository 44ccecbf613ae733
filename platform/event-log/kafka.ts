import { setTimeout as sleep } from "node:timers/promises";

import type { Admin } from "kafkajs";

import type { Log } from "../log.ts";
import type { DeadLetter, EventLog, Subscription } from "./event-log.ts";
import { createKafkaClient, type FetchedMessage, type KafkaConnection } from "./kafka-client.ts";
import type { Held } from "./kafka-partition.ts";
import { createKafkaProducer } from "./kafka-producer.ts";
import { decodeProgress } from "./kafka-progress.ts";
import { createKafkaReader } from "./kafka-reader.ts";
import { joinKafkaGroup } from "./kafka-subscription.ts";
import { checkKafkaTopics, createKafkaTopics } from "./kafka-topics.ts";
import { checkRecords, checkTopic } from "./limits.ts";
import { deadLetterTopic } from "./topics.ts";

export interface KafkaOptions {
  connection: KafkaConnection;
  log: Log;
  /**
   * A name that no other living process has. When this one joins a group, a member that a dead process of the same name has left behind
   * is removed, whose partitions would wait for `sessionTimeoutMs` otherwise.
   */
  processName?: string | undefined;
  /** Of topics that this creates and whose specification does not say it. Default 12. */
  partitions?: number;
  /** Copies of each record, on as many brokers. Default 1. */
  replication?: number;
  /**
   * Milliseconds without a sign of life after which a member's partitions go to others, default 10 000; brokers allow no less than
   * their `group.min.session.timeout.ms`, which is 6 000 unless it is set.
   */
  sessionTimeoutMs?: number;
  /** Milliseconds that a publish may take, with all repetitions. Default 10 000. */
  publishTimeoutMs?: number;
}

/** What one step of a replay reads, publishes and then deletes. */
const replayStep = 100;
const longestReason = 1_000;
const mostRepeats = 5;

/**
 * The event log on Apache Kafka (4.x; topics made by {@link EventLog.createTopics}).
 *
 * - Records of one key lie in one partition, which one member of a group has: their order holds for the whole group.
 * - How far a group has come, what it has handled out of order, and how often it has tried what, is in the group's committed
 *   offsets (`kafka-progress.ts`). Records that wait for another attempt wait in the memory of the member that has their partition; when
 *   256 of one partition wait, it takes no more of this partition until one of them is settled.
 * - Dead letters are records of `<topic>.dlq`, with their origin in headers; a replay deletes them from there.
 */
export function createKafkaEventLog(options: KafkaOptions): EventLog {
  const { connection, log, processName, sessionTimeoutMs = 10_000, publishTimeoutMs = 10_000 } = options;
  const clientId = processName === undefined ? undefined : `flick.${processName}`;
  const client = createKafkaClient(connection, log, clientId);
  const producer = createKafkaProducer({ client, timeoutMs: publishTimeoutMs });
  const reader = createKafkaReader(client);
  const subscriptions = new Set<Subscription>();
  let connectedAdmin: Promise<Admin> | null = null;
  /** Topics that were there once: they are not looked for again. */
  const known = new Set<string>();

  return {
    async publish(records) {
      if (records.length === 0) return;
      checkRecords(records);
      await checkTopics(new Set(records.map(({ topic }) => topic)));
      try {
        await producer.send(records);
      } catch (error) {
        // One of them may have been removed.
        known.clear();
        throw error;
      }
    },

    async last(topic) {
      const ranges = await rangesOf(topic);
      if (ranges.length !== 1) {
        throw new Error(`${topic} has ${ranges.length} partitions; only a topic with one has a newest record`);
      }
      // The last offset may be the mark of a transaction's end, or have been compacted away.
      const [{ partition, low, high } = { partition: 0, low: 0, high: 0 }] = ranges;
      for (let back = 1, from = high; from > low; back *= 16) {
        from = Math.max(low, high - back);
        const found = await reader.read({ topic, partition, from, to: high, limit: back });
        const newest = found.at(-1);
        if (newest) return { ...received(topic, partition, newest), attempt: 1 };
      }
      return null;
    },

    async subscribe(subscribeOptions) {
      await checkTopics(subscribeOptions.topics);
      const context = {
        createClient: () => createKafkaClient(connection, log, clientId),
        predecessor: clientId,
        admin,
        bury,
        log,
        sessionTimeoutMs,
      };
      const joined = await joinKafkaGroup(context, subscribeOptions);
      const subscription: Subscription = {
        close: (drainMs) => joined.close(drainMs).finally(() => subscriptions.delete(subscription)),
      };
      subscriptions.add(subscription);
      return subscription;
    },

    async lag(topic, group) {
      const ranges = await rangesOf(topic);
      const [committed] = await patiently((connected) => connected.fetchOffsets({ groupId: group, topics: [topic] }));
      let lag = 0;
      for (const { partition, low, high } of ranges) {
        const found = committed?.partitions.find((offsets) => offsets.partition === partition);
        const { offset, settled } = decodeProgress(Number(found?.offset ?? -1), found?.metadata ?? null);
        const from = Math.max(low, offset);
        let ahead = 0;
        for (const at of settled) if (at >= from && at < high) ahead++;
        lag += Math.max(0, high - from - ahead);
      }
      return lag;
    },

    async groups(topic) {
      await checkTopics([topic]);
      const connected = await admin();
      const { groups } = await connected.listGroups();
      const found: string[] = [];
      for (const { groupId } of groups) {
        const [offsets] = await connected.fetchOffsets({ groupId, topics: [topic] });
        if (offsets?.partitions.some(({ offset }) => Number(offset) >= 0)) found.push(groupId);
      }
      return found.toSorted();
    },

    async deadLetters(topic, limit) {
      const letters = await readDeadLetters(topic, limit);
      return letters.map(({ letter }) => letter);
    },

    async replay(topic, limit) {
      const dlq = deadLetterTopic(topic);
      let replayed = 0;
      while (replayed < limit) {
        const letters = await readDeadLetters(topic, Math.min(replayStep, limit - replayed));
        const last = letters.at(-1);
        if (!last) break;
        await producer.send(letters.map(({ letter: { key, value } }) => ({ topic, key, value })));
        const partitions = [{ partition: 0, offset: String(last.offset + 1) }];
        await patiently((connected) => connected.deleteTopicRecords({ topic: dlq, partitions }));
        replayed += letters.length;
      }
      return replayed;
    },

    async createTopics(specs) {
      const { partitions = 12, replication = 1 } = options;
      return createKafkaTopics(await admin(), specs, { partitions, replication });
    },

    checkTopics,

    async close() {
      await Promise.all([...subscriptions].map((subscription) => subscription.close()));
      await Promise.all([
        producer.close(),
        reader.close(),
        connectedAdmin?.then((connected) => connected.disconnect()).catch(() => {}),
      ]);
    },
  };

  async function admin(): Promise<Admin> {
    const connecting = (connectedAdmin ??= connectAdmin());
    return connecting.catch((error: unknown) => {
      if (connectedAdmin === connecting) connectedAdmin = null;
      throw error;
    });
  }

  /** A leader that is new, or has moved, answers that it is none: then again, over new connections that ask who is. */
  async function patiently<T>(ask: (connected: Admin) => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures++) {
      const connected = await admin();
      try {
        return await ask(connected);
      } catch (error) {
        const passing = error instanceof Error && "retriable" in error && error.retriable === true;
        if (!passing || failures === mostRepeats) throw error;
        connectedAdmin = null;
        void connected.disconnect().catch(() => {});
        await sleep(50 * 2 ** failures);
      }
    }
  }

  async function connectAdmin(): Promise<Admin> {
    const created = client.admin();
    await created.connect();
    return created;
  }

  async function checkTopics(topics: Iterable<string>): Promise<void> {
    const unknown = [...topics].filter((topic) => !known.has(topic));
    if (unknown.length === 0) return;
    for (const topic of unknown) checkTopic(topic);
    await checkKafkaTopics(await admin(), unknown);
    for (const topic of unknown) known.add(topic);
  }

  async function rangesOf(topic: string): Promise<{ partition: number; low: number; high: number }[]> {
    await checkTopics([topic]);
    const offsets = await patiently((connected) => connected.fetchTopicOffsets(topic));
    return offsets.map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }));
  }

  async function bury({ event, attempts }: Held, group: string, reason: string): Promise<void> {
    const { topic, key, value, id } = event;
    const dlq = deadLetterTopic(topic);
    await checkTopics([dlq]);
    const headers = {
      group,
      origin: id,
      attempts: String(attempts),
      reason: reason.slice(0, longestReason),
      failedAt: String(Date.now()),
    };
    await producer.send([{ topic: dlq, key, value, headers }]);
  }

  async function readDeadLetters(topic: string, limit: number): Promise<{ offset: number; letter: DeadLetter }[]> {
    const dlq = deadLetterTopic(topic);
    const [range] = await rangesOf(dlq);
    if (!range || range.low >= range.high) return [];
    const found = await reader.read({ topic: dlq, partition: 0, from: range.low, to: range.high, limit });
    return found.map((message) => ({ offset: Number(message.offset), letter: deadLetter(topic, message) }));
  }
}

function received(topic: string, partition: number, { offset, key, value }: FetchedMessage) {
  return { topic, key: key?.toString() ?? "", value: value?.toString() ?? "", id: `${partition}:${offset}` };
}

function deadLetter(topic: string, message: FetchedMessage): DeadLetter {
  const header = (name: string) => message.headers[name]?.toString() ?? "";
  return {
    ...received(topic, 0, message),
    group: header("group"),
    origin: header("origin"),
    attempts: Number(header("attempts")),
    reason: header("reason"),
    failedAt: Number(header("failedAt")),
  };
}
