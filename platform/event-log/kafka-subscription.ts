import { setTimeout as sleep } from "node:timers/promises";

import type { Admin, Consumer, EachBatchPayload, Kafka } from "kafkajs";

import type { Log } from "../log.ts";
import { within } from "../within.ts";
import type { SubscribeOptions, Subscription } from "./event-log.ts";
import { stickyAssigner, type Partitions } from "./kafka-assigner.ts";
import { leaveKafkaGroup } from "./kafka-client.ts";
import { createGroupOffsets, type StoredProgress } from "./kafka-group-offsets.ts";
import { createHeldPartition, holdRecord, nameOf, type Held, type HeldPartition } from "./kafka-partition.ts";
import { decodeProgress } from "./kafka-progress.ts";
import { createWork } from "./kafka-work.ts";

/** Of one partition, beyond which no more is asked for until half of it is settled. One fetch (1 MiB) may come on top. */
const mostHeld = { records: 8_192, bytes: 2 * 1024 * 1024 };
const pollMs = 5;
/** A partition of which nothing was settled for so long holds up the others no longer. */
const stuckMs = 50;
const fetchBytes = { ofPartition: 1024 * 1024, together: 4 * 1024 * 1024 };
const joinMs = 15_000;
const giveBackMs = 2_000;
const leaveMs = 5_000;
const longestBackOffMs = 2_000;

export interface SubscriptionContext {
  /** A client of the subscription's own: kafkajs shares offsets between the consumers of one. */
  createClient: () => Kafka;
  /** The client id by which members are known that a dead process of the same name has left behind. */
  predecessor: string | undefined;
  admin: () => Promise<Admin>;
  bury: (held: Held, group: string, reason: string) => Promise<void>;
  log: Log;
  /** Milliseconds without a sign of life after which the others take over what a member has. */
  sessionTimeoutMs: number;
}

/**
 * Joins a consumer group as a new member and works until closed. kafkajs fetches, and keeps the membership: its fetch loop is never held
 * up by a handler, so that heartbeats go on whatever handlers do. `kafka-work.ts` handles what has been fetched, `kafka-progress.ts`
 * says how far it has come. A consumer that has crashed is replaced by another one, which takes up what the first one has.
 */
export async function joinKafkaGroup(context: SubscriptionContext, options: SubscribeOptions): Promise<Subscription> {
  const { log, sessionTimeoutMs } = context;
  const { group, topics, concurrency = 16, retryDelaysMs = [1_000, 5_000, 30_000] } = options;
  const partitions = new Map<string, HeldPartition>();
  const firstJoin = Promise.withResolvers<void>();
  let consumer: Consumer | null = null;
  let commitOffsets: EachBatchPayload["commitOffsetsIfNecessary"] | null = null;
  let memberId = "";
  /** Counts joins, those that have begun and those that are done. */
  let joins = 0;
  let aliveAt = Date.now();
  let silent = false;
  const leaving = new AbortController();
  let restarts = 0;
  let problem: unknown;
  let closed: Promise<void> | undefined;
  const offsets = createGroupOffsets(group, context.admin, log);
  const work = createWork({
    group,
    concurrency,
    retryDelaysMs,
    handler: options.handler,
    onError: options.onError ?? logFailure(log, group),
    log,
    commit,
    bury: (held, reason) => context.bury(held, group, reason),
    onSettled: resumeIfRoom,
  });

  await within(removePredecessors(), leaveMs, () => tooSlow(leaveMs)).catch((error: unknown) => {
    log.debug("whether a predecessor is in the group is not known", { group, error });
  });
  const watching = setInterval(watch, Math.min(1_000, sessionTimeoutMs / 4));
  const firstTry = start();
  try {
    await within(Promise.all([firstTry, firstJoin.promise]), joinMs, () => tooSlow(joinMs));
  } catch (error) {
    await close(0);
    const reason = problem instanceof Error ? `: ${problem.message}` : "";
    throw new Error(`group ${group} could not be joined within ${joinMs} ms${reason}`, { cause: error });
  }

  return { close: (drainMs = 10_000) => (closed ??= close(drainMs)) };

  async function removePredecessors(): Promise<void> {
    if (context.predecessor === undefined) return;
    const { groups } = await (await context.admin()).describeGroups([group]);
    for (const { clientId, memberId: dead } of groups.flatMap(({ members }) => members)) {
      if (clientId !== context.predecessor) continue;
      log.info("a member is removed from the group, of a process of this one's name that has ended", { group });
      await leaveKafkaGroup(context.createClient(), group, dead);
    }
  }

  async function start(): Promise<void> {
    const heartbeatInterval = Math.floor(sessionTimeoutMs / 5);
    const created = context.createClient().consumer({
      groupId: group,
      partitionAssigners: [stickyAssigner(aboutToJoin)],
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: Math.max(sessionTimeoutMs, 10_000),
      heartbeatInterval,
      maxWaitTimeInMs: Math.min(500, heartbeatInterval),
      maxBytesPerPartition: fetchBytes.ofPartition,
      maxBytes: fetchBytes.together,
      allowAutoTopicCreation: false,
      retry: {
        initialRetryTime: 100,
        maxRetryTime: 1_000,
        retries: 10,
        restartOnFailure: () => Promise.resolve(false),
      },
    });
    consumer = created;
    commitOffsets = null;
    created.on("consumer.heartbeat", () => alive());
    created.on("consumer.group_join", ({ payload }) => {
      if (consumer !== created) return;
      alive();
      restarts = 0;
      joined(payload.memberId, payload.memberAssignment);
      firstJoin.resolve();
    });
    created.on("consumer.crash", ({ payload }) => void startAgain(created, payload.error));
    try {
      await created.connect();
      await created.subscribe({ topics: [...topics], fromBeginning: true });
      if (leaving.signal.aborted || consumer !== created) return;
      await created.run({ autoCommit: false, eachBatch: (payload) => receive(created, payload) });
      // kafkajs does not leave a group that it has not joined yet: a disconnection while the coordinator was not ready has left a member
      // behind that keeps its partitions and handles nothing.
      if (leaving.signal.aborted || consumer !== created) await created.disconnect();
    } catch (error) {
      await created.disconnect().catch(() => {});
      await startAgain(created, error);
    }
  }

  async function startAgain(crashed: Consumer, error: unknown): Promise<void> {
    if (leaving.signal.aborted || consumer !== crashed) return;
    consumer = null;
    problem = error;
    work.hold();
    log.debug("a consumer has crashed and is replaced", { group, error });
    await sleep(Math.min(longestBackOffMs, 100 * 2 ** restarts++));
    if (memberId !== "")
      await within(leaveKafkaGroup(context.createClient(), group, memberId), leaveMs, () => tooSlow(leaveMs)).catch(
        () => {},
      );
    if (!leaving.signal.aborted) await start();
  }

  function aboutToJoin(): { owned: Partitions; busy: Partitions } {
    work.hold();
    joins++;
    const list = (some: HeldPartition[]): Partitions => {
      const byTopic = Map.groupBy(some, ({ topic }) => topic);
      return Object.fromEntries([...byTopic].map(([topic, of]) => [topic, of.map(({ number }) => number)]));
    };
    const all = [...partitions.values()];
    return { owned: list(all), busy: list(all.filter(({ running }) => running > 0)) };
  }

  function joined(id: string, assignment: Partitions): void {
    const wanted = new Set(
      Object.entries(assignment).flatMap(([topic, numbers]) => numbers.map((number) => nameOf({ topic, number }))),
    );
    for (const [name, partition] of partitions) if (!wanted.has(name)) lose(name, partition);
    const sameMember = id === memberId;
    memberId = id;
    const kept = [...partitions.values()];
    // Those of which it was not found out yet how far they are, because the group was put together again at once.
    const added = kept.filter(({ inherited }) => inherited === null);
    for (const [topic, numbers] of Object.entries(assignment)) {
      for (const number of numbers) {
        if (partitions.has(nameOf({ topic, number }))) continue;
        const partition = createHeldPartition(topic, number);
        partitions.set(nameOf(partition), partition);
        added.push(partition);
        // It may have been paused when it was here before.
        consumer?.resume([{ topic, partitions: [number] }]);
      }
    }
    for (const { topic, number, next } of kept) {
      if (next !== null) consumer?.seek({ topic, partition: number, offset: String(next) });
    }
    void settleIn(++joins, added, sameMember ? [] : kept.filter((partition) => !added.includes(partition)));
  }

  /**
   * Finds out how far the group had come in partitions that are new here, and whether somebody else has had those that this process had
   * before it lost its membership: if so, what is going on here is outdated.
   */
  async function settleIn(join: number, added: HeldPartition[], doubtful: HeldPartition[]): Promise<void> {
    const some = [...added, ...doubtful];
    const outdated = () => join !== joins || leaving.signal.aborted;
    for (let failures = 0; some.length > 0 && !outdated(); failures++) {
      try {
        const storedOf = await offsets.stored(some);
        if (outdated()) return;
        for (const partition of doubtful) {
          const { known, perhaps } = partition.committed;
          const stored = storedOf(partition);
          const text = textOf(stored);
          if (stored.offset < 0 || text === known || text === perhaps) continue;
          lose(nameOf(partition), partition);
          const anew = createHeldPartition(partition.topic, partition.number);
          partitions.set(nameOf(partition), anew);
          added.push(anew);
        }
        for (const partition of added) {
          const stored = storedOf(partition);
          const { topic, number } = partition;
          if (offsets.wasReset(stored)) offsets.tellReset(partition);
          partition.inherited = decodeProgress(stored.offset, stored.metadata);
          partition.next ??= stored.offset < 0 ? null : stored.offset;
          if (partition.next !== null && doubtful.length > 0) {
            consumer?.seek({ topic, partition: number, offset: String(partition.next) });
          }
          partition.committed.known = textOf(stored);
        }
        break;
      } catch (error) {
        if (failures === 0) log.debug("the offsets of a group cannot be read, trying again", { group, error });
        await sleep(Math.min(1_000, 50 * 2 ** failures));
      }
    }
    if (!outdated()) work.release(partitions.values());
  }

  function lose(name: string, partition: HeldPartition): void {
    partitions.delete(name);
    if (partition.running > 0) {
      const { topic, number, running } = partition;
      log.warn("another member has taken a partition over; its handlers here are told to stop", {
        topic,
        partition: number,
        group,
        running,
      });
    }
    work.lose(partition);
  }

  /** Takes over a batch; waits a little when there is much to do, and asks for no more when that does not help. */
  async function receive(from: Consumer, payload: EachBatchPayload): Promise<void> {
    const { batch, heartbeat, isStale } = payload;
    if (consumer !== from) return;
    commitOffsets = payload.commitOffsetsIfNecessary;
    const name = nameOf({ topic: batch.topic, number: batch.partition });
    for (let waitMs = 5; !leaving.signal.aborted; waitMs = Math.min(250, 2 * waitMs)) {
      if (partitions.get(name)?.inherited) break;
      await sleep(waitMs);
      await heartbeat();
    }
    let partition = partitions.get(name);
    // Stale: it is not from where the partition is to be read.
    if (leaving.signal.aborted || !partition || isStale()) return;
    const first = batch.messages[0];
    if (partition.next !== null && Number(batch.highWatermark) < partition.next) partition = beginAnew(partition);
    if (first && partition.next !== null && Number(first.offset) > partition.next) {
      void offsets.tellLoss(partition, partition.next);
    }
    const records: Held[] = [];
    for (const message of batch.messages) {
      const held = holdRecord(partition, message);
      if (held) records.push(held);
    }
    partition.next = Math.max(partition.next ?? 0, Number(batch.lastOffset()) + 1);
    work.admit(records);
    let before = partition.unsettled.records;
    for (let idleMs = 0; isFull(partition) && !leaving.signal.aborted; idleMs += pollMs) {
      await sleep(pollMs);
      await heartbeat();
      if (partition.unsettled.records < before) idleMs = 0;
      before = partition.unsettled.records;
      if (idleMs < stuckMs) continue;
      if (partitions.get(name) !== partition) return;
      partition.paused = true;
      from.pause([{ topic: batch.topic, partitions: [batch.partition] }]);
      return;
    }
  }

  /** kafkajs reads a topic that ends before the group's offset from its beginning. */
  function beginAnew(partition: HeldPartition): HeldPartition {
    offsets.tellCut(partition);
    work.lose(partition);
    const anew = createHeldPartition(partition.topic, partition.number);
    anew.inherited = decodeProgress(-1, null);
    partitions.set(nameOf(partition), anew);
    return anew;
  }

  function resumeIfRoom(partition: HeldPartition): void {
    const { topic, number, unsettled } = partition;
    if (!partition.paused || unsettled.records > mostHeld.records / 2 || unsettled.bytes > mostHeld.bytes / 2) return;
    partition.paused = false;
    consumer?.resume([{ topic, partitions: [number] }]);
  }

  async function commit(some: readonly HeldPartition[]): Promise<void> {
    const entries = some.flatMap((partition) => {
      const reached = partition.progress();
      return reached ? [{ partition, text: textOf(reached), ...reached }] : [];
    });
    for (const { partition, text } of entries) partition.committed.perhaps = text;
    const progress = entries.map(({ partition, offset, metadata }) => {
      return { topic: partition.topic, partition: partition.number, offset: String(offset), metadata };
    });
    // The consumer's own method tries again, maybe when the partition is another member's. It is for before the first batch only.
    if (commitOffsets) {
      const byTopic = Map.groupBy(progress, ({ topic }) => topic);
      await commitOffsets({ topics: [...byTopic].map(([topic, of]) => ({ topic, partitions: of })) });
    } else if (consumer) await consumer.commitOffsets(progress);
    else throw new Error("there is no consumer at the moment");
    for (const { partition, text } of entries) partition.committed.known = text;
  }

  function alive(): void {
    aliveAt = Date.now();
    if (!silent) return;
    silent = false;
    log.info("Kafka is reachable again", { group });
  }

  /** Others take over when a session has timed out; handlers here get the same time again to come to an end. */
  function watch(): void {
    const silentMs = Date.now() - aliveAt;
    if (silentMs > sessionTimeoutMs && !silent) {
      silent = true;
      log.warn("Kafka is not reachable; trying until it is", { group });
    }
    if (silentMs > 2 * sessionTimeoutMs) for (const [name, partition] of partitions) lose(name, partition);
  }

  async function close(drainMs: number): Promise<void> {
    leaving.abort();
    await work.drain(drainMs);
    clearInterval(watching);
    await work.giveBack(partitions.values(), giveBackMs);
    memberId = "";
    const left = consumer?.disconnect() ?? Promise.resolve();
    await within(left, giveBackMs, () => tooSlow(giveBackMs)).catch((error: unknown) => {
      log.debug("the group could not be left; the others wait until the session has timed out", { group, error });
    });
  }
}

function textOf({ offset, metadata }: StoredProgress): string {
  return `${offset} ${metadata ?? ""}`;
}

function isFull({ unsettled }: HeldPartition): boolean {
  return unsettled.records > mostHeld.records || unsettled.bytes > mostHeld.bytes;
}

function tooSlow(ms: number): Error {
  return new Error(`Kafka took longer than ${ms} ms`);
}

function logFailure(log: Log, group: string): NonNullable<SubscribeOptions["onError"]> {
  return ({ topic, id, attempt }, error, outcome) => {
    log.warn("a record could not be handled", { topic, group, id, attempt, outcome, error });
  };
}
