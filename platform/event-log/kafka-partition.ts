import type { KafkaMessage } from "kafkajs";

import type { ReceivedEvent } from "./event-log.ts";
import { continuesRun, encodeProgress, maxDistance, maxRuns, type Mark, type Progress } from "./kafka-progress.ts";

/** A record in a member's hands. */
export interface Held {
  partition: HeldPartition;
  offset: number;
  event: ReceivedEvent;
  bytes: number;
  /** Deliveries begun, with the one under way. */
  attempts: number;
  state: HeldState;
  /** The next of the same key, which is queued. */
  behind?: Held;
  /** Ends the waiting. */
  timer?: ReturnType<typeof setTimeout>;
}

/**
 * `queued`: another record of its key comes first; `ready`: it may be taken; `taken`: that is being written down, or its handler
 * waits for a free place; `running`: its handler is at work; `waiting`: for its next attempt; `settled`: handled, or a dead letter.
 */
export type HeldState = "queued" | "ready" | "taken" | "running" | "waiting" | "settled";

/** One partition that this member has, from the time when it got it until it loses it. */
export interface HeldPartition {
  readonly topic: string;
  readonly number: number;
  /** Of its handlers: aborted when the partition is lost. */
  readonly lost: AbortController;
  /** The offset of the record to come; null until the first has come. */
  next: number | null;
  /** What the members before left; null until it is known. */
  inherited: Progress | null;
  /** Records that may be taken, oldest first. */
  readonly ready: Queue<Held>;
  /** Records whose handlers are at work. */
  running: number;
  /** Records that are not settled, and their bytes. */
  readonly unsettled: { records: number; bytes: number };
  /** Whoever works on the records keeps the order of keys here. */
  chains?: Map<string, Held>;
  /** Not asked for more at the moment. */
  paused: boolean;
  /** The last texts sent as progress: the one that Kafka is known to have, and one that it may have. */
  committed: { known: string | null; perhaps: string | null };

  /** The next record, as it was inherited. */
  add(held: Held): void;
  /** Counts an attempt; false when so much of the partition is unsettled that the record has to wait. */
  take(held: Held): boolean;
  /** The attempt has failed, and another one comes later. */
  defer(held: Held): void;
  /** The attempt was none. */
  untake(held: Held): void;
  settle(held: Held): void;
  records(): Iterable<Held>;
  /** What to commit; null as long as nothing is known. */
  progress(): { offset: number; metadata: string } | null;
}

export function createHeldPartition(topic: string, number: number): HeldPartition {
  const records = createQueue<Held>();
  /** At least as many as there are runs in the progress; counted anew when it seems to be too many. */
  let runs = 0;
  /** Counted, and too many; until something is settled. */
  let full = false;
  /** Nothing beyond has been settled or taken. */
  let touched = -1;

  const partition: HeldPartition = {
    topic,
    number,
    lost: new AbortController(),
    next: null,
    inherited: null,
    ready: createQueue<Held>(),
    running: 0,
    unsettled: { records: 0, bytes: 0 },
    paused: false,
    committed: { known: null, perhaps: null },
    add(held) {
      records.push(held);
      partition.unsettled.records++;
      partition.unsettled.bytes += held.bytes;
      if (held.attempts > 0) runs++;
      if (held.state === "settled") partition.settle(held);
      else if (held.attempts > 0) touched = held.offset;
    },
    take(held) {
      const first = records.first()?.offset ?? held.offset;
      if (held.offset - first >= maxDistance) return false;
      if (runs >= maxRuns && !full) runs = countRuns();
      full = runs >= maxRuns;
      // One that was tried before has its place in a run already.
      if (full && held.attempts === 0) return false;
      if (held.offset !== touched + 1 || held.attempts > 0) runs += 2;
      held.attempts++;
      touched = Math.max(touched, held.offset);
      held.state = "taken";
      return true;
    },
    defer(held) {
      held.state = "waiting";
      runs += 2;
    },
    untake(held) {
      held.attempts--;
      held.state = "ready";
      runs += 2;
    },
    settle(held) {
      held.state = "settled";
      full = false;
      touched = Math.max(touched, held.offset);
      partition.unsettled.records--;
      partition.unsettled.bytes -= held.bytes;
      if (records.first() !== held) runs++;
      while (records.first()?.state === "settled") records.shift();
    },
    records: () => records,
    progress() {
      const offset = records.first()?.offset ?? partition.next;
      if (offset === null) return null;
      return { offset, metadata: encodeProgress(offset, touchedRecords()) };
    },
  };
  return partition;

  function countRuns(): number {
    let count = 0;
    let last: { offset: number; mark: Mark | null } | null = null;
    for (const record of touchedRecords()) {
      if (record.mark && !(last?.mark && continuesRun({ ...last, mark: last.mark }, record.offset, record.mark)))
        count++;
      last = record;
    }
    return count;
  }

  function* touchedRecords(): Generator<{ offset: number; mark: Mark | null }> {
    for (const { offset, state, attempts } of records) {
      if (offset > touched) break;
      if (state === "settled") yield { offset, mark: null };
      else if (attempts > 0) yield { offset, mark: { attempts, waiting: state === "waiting" } };
    }
    // What the members before have left and has not come yet.
    const { inherited, next } = partition;
    if (!inherited || next === null || next > inherited.upTo) return;
    for (const offset of inherited.settled) if (offset >= next) yield { offset, mark: null };
    for (const [offset, mark] of inherited.marks) if (offset >= next) yield { offset, mark };
  }
}

/** Takes the next record over, as it was inherited; null for one that is here already, or was settled by a member before. */
export function holdRecord(partition: HeldPartition, { offset, key, value }: KafkaMessage): Held | null {
  const at = Number(offset);
  if (partition.next !== null && at < partition.next) return null;
  partition.next = at + 1;
  const { topic, number, inherited } = partition;
  const mark = inherited?.marks.get(at);
  const event = {
    topic,
    key: key?.toString() ?? "",
    value: value?.toString() ?? "",
    id: `${number}:${offset}`,
    attempt: 0,
  };
  const held: Held = {
    partition,
    offset: at,
    event,
    bytes: (key?.length ?? 0) + (value?.length ?? 0),
    attempts: mark?.attempts ?? 0,
    state: inherited?.settled.has(at) ? "settled" : mark?.waiting ? "waiting" : "ready",
  };
  partition.add(held);
  return held.state === "settled" ? null : held;
}

/** How partitions are told apart. */
export function nameOf({ topic, number }: { topic: string; number: number }): string {
  return `${topic} ${number}`;
}

/** First in, first out, in constant time. */
export interface Queue<T> {
  push(item: T): void;
  /** Puts items back to the front, in their order. */
  putBack(items: readonly T[]): void;
  first(): T | undefined;
  shift(): T | undefined;
  clear(): void;
  [Symbol.iterator](): Iterator<T>;
}

export function createQueue<T>(): Queue<T> {
  let items: T[] = [];
  let head = 0;
  return {
    push: (item) => void items.push(item),
    putBack(front) {
      items = [...front, ...items.slice(head)];
      head = 0;
    },
    first: () => items[head],
    shift() {
      const item = items[head];
      if (head < items.length) head++;
      if (head > 1_024 && head * 2 > items.length) {
        items = items.slice(head);
        head = 0;
      }
      return item;
    },
    clear() {
      items = [];
      head = 0;
    },
    *[Symbol.iterator]() {
      for (let i = head; i < items.length; i++) yield items[i] as T;
    },
  };
}
