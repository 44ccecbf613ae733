import { setTimeout as sleep } from "node:timers/promises";

import type { Log } from "../log.ts";
import type { SubscribeOptions } from "./event-log.ts";
import { createQueue, nameOf, type Held, type HeldPartition } from "./kafka-partition.ts";

/** Most records that are taken and not done. */
const mostAtATime = 8_192;
const longestPauseMs = 200;
const pollMs = 5;

export interface Work {
  /** Records of a partition, in order, that are this member's to handle. */
  admit(records: readonly Held[]): void;
  /** Its handlers are told to stop, and nothing more is done for it. */
  lose(partition: HeldPartition): void;
  /** While the group is being put together anew, nothing is begun. */
  hold(): void;
  /** Begins again; the progress of these partitions is to be committed anew. */
  release(partitions: Iterable<HeldPartition>): void;
  /** Begins nothing more, and waits for the handlers at work; at most so long. */
  drain(ms: number): Promise<void>;
  /** Gives back what is not settled, without counting the attempt, and commits what can be committed. */
  giveBack(partitions: Iterable<HeldPartition>, withinMs: number): Promise<void>;
}

export interface WorkOptions extends Pick<SubscribeOptions, "handler" | "onError"> {
  group: string;
  concurrency: number;
  retryDelaysMs: readonly number[];
  log: Log;
  /** Writes the progress of partitions; rejects when it is not certain to be written. */
  commit: (partitions: readonly HeldPartition[]) => Promise<void>;
  /** Keeps a dead letter; rejects when it is not certain to be kept. */
  bury: (held: Held, reason: string) => Promise<void>;
  onSettled: (partition: HeldPartition) => void;
}

/**
 * Handles the records that a member has. A loop writes progress: what has been settled since its last turn, and which records are taken
 * next; while one turn is under way, the next one gathers. A record's handler is called once it is written down that the
 * record is taken, so that an attempt counts even if its member dies of it.
 */
export function createWork(options: WorkOptions): Work {
  const { group, concurrency, retryDelaysMs, handler, log, commit } = options;
  /** By topic and partition, see {@link chainsOf}. */
  const allChains = new Map<string, Map<string, Held>>();
  const atWork = new Set<Held>();
  const partitions = new Set<HeldPartition>();
  const dirty = new Set<HeldPartition>();
  /** Records that are taken, whose handlers wait for a free place. */
  const startable = createQueue<Held>();
  let startables = 0;
  let room = 2 * concurrency;
  /** `running`: handlers at work. `held`: nothing is begun for now. `leaving`: nothing is begun any more. */
  const now = { running: 0, held: false, leaving: false, stopped: false };
  let news = Promise.withResolvers<void>();
  const writing = write();

  return {
    admit(records) {
      for (const record of records) enter(record);
      news.resolve();
    },
    lose,
    hold: () => void (now.held = true),
    release(kept) {
      now.held = false;
      for (const partition of kept) dirty.add(partition);
      startHandlers();
      news.resolve();
    },
    async drain(ms) {
      now.leaving = true;
      const deadline = Date.now() + ms;
      while (now.running > 0 && Date.now() < deadline) {
        await sleep(pollMs);
      }
    },
    async giveBack(kept, withinMs) {
      now.leaving = true;
      const all = [...kept];
      for (const partition of all) {
        for (const record of partition.records()) {
          clearTimeout(record.timer);
          if (record.state === "taken" || record.state === "running") partition.untake(record);
        }
        partition.lost.abort(new Error("the subscription was closed"));
        partitions.delete(partition);
      }
      now.stopped = true;
      news.resolve();
      const deadline = Date.now() + withinMs;
      await Promise.race([writing, sleep(withinMs)]);
      while (all.length > 0) {
        try {
          return await Promise.race([commit(all), sleep(Math.max(1, deadline - Date.now()))]);
        } catch (error) {
          if (Date.now() + 100 > deadline) {
            log.warn("what was handled last could not be written down; it is delivered again", { group, error });
            return;
          }
          await sleep(100);
        }
      }
    },
  };

  function enter(record: Held): void {
    const { partition, event } = record;
    partitions.add(partition);
    if (record.state === "waiting") return wait(record);
    const chains = chainsOf(partition);
    const last = chains.get(event.key);
    chains.set(event.key, record);
    if (last) {
      record.state = "queued";
      last.behind = record;
    } else {
      record.state = "ready";
      partition.ready.push(record);
    }
  }

  function wait(record: Held): void {
    const delayMs = retryDelaysMs[record.attempts - 1] ?? 0;
    record.timer = setTimeout(() => {
      delete record.timer;
      record.state = "ready";
      enter(record);
      news.resolve();
    }, delayMs);
  }

  /** The next record of the same key may be taken. */
  function advance(record: Held): void {
    const { partition, event, behind } = record;
    if (behind) {
      delete record.behind;
      behind.state = "ready";
      behind.partition.ready.push(behind);
      return;
    }
    const chains = chainsOf(partition);
    if (chains.get(event.key) === record) chains.delete(event.key);
  }

  function lose(partition: HeldPartition): void {
    partitions.delete(partition);
    dirty.delete(partition);
    partition.ready.clear();
    partition.lost.abort(new Error("the record was given to another member of the group"));
    const chains = chainsOf(partition);
    for (const record of partition.records()) clearTimeout(record.timer);
    chains.clear();
    // A handler at work keeps its key, in case the partition comes back while it is.
    for (const record of atWork) {
      if (chainsOf(record.partition) !== chains) continue;
      delete record.behind;
      chains.set(record.event.key, record);
    }
  }

  /** By key, the last of the records that follow each other. The same for a partition that was lost and has come back. */
  function chainsOf(partition: HeldPartition): Map<string, Held> {
    if (partition.chains) return partition.chains;
    const name = nameOf(partition);
    const chains = allChains.get(name) ?? new Map<string, Held>();
    allChains.set(name, chains);
    return (partition.chains = chains);
  }

  async function write(): Promise<void> {
    let failures = 0;
    while (!now.stopped) {
      const inHand = startables + now.running;
      const taken = now.leaving || now.held ? [] : take();
      if (dirty.size === 0) {
        await news.promise;
        news = Promise.withResolvers();
        continue;
      }
      const turn = [...dirty];
      dirty.clear();
      try {
        await commit(turn);
        failures = 0;
        adjustRoom(inHand, inHand + taken.length === room);
        for (const record of taken) startable.push(record);
        startables += taken.length;
        startHandlers();
      } catch (error) {
        if (now.stopped) return;
        for (const partition of turn) if (partitions.has(partition)) dirty.add(partition);
        untake(taken);
        log.debug("progress could not be written, trying again", { group, error });
        await sleep(Math.min(longestPauseMs, 25 * 2 ** failures++));
      }
    }
  }

  /** Handlers that were done before it was written down what comes next get more to do the next time, and slow ones less. */
  function adjustRoom(inHandBefore: number, full: boolean): void {
    const idle = startables + now.running === 0;
    if (full && inHandBefore > 0 && idle) room = Math.min(4 * room, mostAtATime);
    else if (startables > room / 2) room = Math.max(2 * concurrency, Math.floor(room / 2));
  }

  /** Takes records in turn from all partitions. */
  function take(): Held[] {
    const taken: Held[] = [];
    let most = room - startables - now.running;
    for (let any = true; any && most > 0;) {
      any = false;
      for (const partition of partitions) {
        const record = partition.ready.first();
        if (!record || most <= 0 || !partition.take(record)) continue;
        partition.ready.shift();
        taken.push(record);
        dirty.add(partition);
        most--;
        any = true;
      }
    }
    return taken;
  }

  function untake(taken: readonly Held[]): void {
    for (const [partition, records] of Map.groupBy(taken, (record) => record.partition)) {
      if (!partitions.has(partition)) continue;
      for (const record of records) partition.untake(record);
      partition.ready.putBack(records);
    }
  }

  function startHandlers(): void {
    while (now.running < concurrency && !now.held && !now.leaving) {
      const record = startable.shift();
      if (!record) return;
      startables--;
      if (partitions.has(record.partition)) void run(record);
    }
  }

  async function run(record: Held): Promise<void> {
    const { partition, event } = record;
    now.running++;
    atWork.add(record);
    partition.running++;
    record.state = "running";
    event.attempt = record.attempts;
    try {
      // It counts up to here only when the members that held it died: their handlers may be what killed them.
      if (record.attempts > retryDelaysMs.length + 1) throw new Error("no member that took it lived to answer");
      await handler(event, partition.lost.signal);
      if (!partition.lost.signal.aborted) settle(record);
    } catch (error) {
      if (!partition.lost.signal.aborted) await fail(record, error);
    }
    now.running--;
    atWork.delete(record);
    partition.running--;
    advance(record);
    startHandlers();
    news.resolve();
  }

  function settle(record: Held): void {
    const { partition } = record;
    partition.settle(record);
    dirty.add(partition);
    options.onSettled(partition);
  }

  async function fail(record: Held, error: unknown): Promise<void> {
    const { partition, event } = record;
    const delayMs = retryDelaysMs[record.attempts - 1];
    try {
      options.onError?.(event, error, delayMs === undefined ? "dead letter" : "retry");
    } catch (reportError) {
      log.error("onError of a subscription threw", { group, error: reportError });
    }
    if (delayMs !== undefined) {
      partition.defer(record);
      wait(record);
      dirty.add(partition);
      return;
    }
    const reason = error instanceof Error ? error.message : String(error);
    for (let failures = 0; !partition.lost.signal.aborted; failures++) {
      try {
        await options.bury(record, reason);
        return settle(record);
      } catch (buryError) {
        if (failures === 0) log.error("a dead letter could not be kept, trying again", { group, error: buryError });
        await sleep(Math.min(5_000, 100 * 2 ** failures), undefined, { signal: partition.lost.signal }).catch(() => {});
      }
    }
  }
}
