import { createHash } from "node:crypto";

import type { EventLog, EventRecord } from "../event-log/event-log.ts";
import { limits } from "../event-log/limits.ts";
import { changeTopic, offsetsTopic } from "../event-log/topics.ts";
import type { Log } from "../log.ts";
import type { BinlogChange, BinlogPosition } from "./binlog.ts";
import type { DebeziumChange, Row } from "./change-event.ts";

export interface ChangePublisher {
  add(change: BinlogChange): void;
  /** All changes added so far are of finished transactions, and this is the position behind them. */
  commit(position: BinlogPosition): void;
  /** The changes added since the last commit did not happen. */
  rollback(): void;
  /** How full the buffer is: from 1 on, no more should come. */
  fill(): number;
  /** Changes added and not taken for publishing, and when the oldest was made, in milliseconds since 1970. */
  waiting(): { changes: number; since: number | null };
  /** Publishes what comes, until {@link stop}. Rejects when a publish fails: what became of its changes is not known then. */
  run(): Promise<void>;
  /** Lets the publish under way finish, and starts no other. */
  stop(): void;
}

interface Batch {
  records: EventRecord[];
  /** Where the last of its changes lies; null when it has none. */
  last: BinlogChange["source"] | null;
  /** The position behind it, where it holds one. */
  behind: BinlogPosition | null;
}

const bufferedChanges = 2_000;
const bufferedBytes = 2 * 1024 * 1024;
/** Of one publish: well below what an event log takes, and enough that more would not be faster. */
const batchRecords = 2_000;
const batchBytes = 8 * 1024 * 1024;
/** Columns that are in no event, whatever their table: nobody who reads the log has any use for them. */
const secretColumns = ["password_hash"];
/** How often a position is stored while nothing that concerns us changes. */
const idlePositionMs = 5_000;

/**
 * Buffers changes and publishes them in their order, many transactions in one call when they come fast. The position behind
 * them is the last record of that call. Only a transaction that fills the buffer is published before it is finished, piece by
 * piece, and the position follows with its last piece.
 *
 * @param options.keyColumns tells a table's primary key where the binlog does not.
 * @param options.visible resolves when a change and all before it can be read in the database: none is published earlier, so that
 *   who acts on it finds what it tells of.
 * @param options.onTaken called whenever there may be room in the buffer again.
 */
export function createChangePublisher(options: {
  database: string;
  eventLog: EventLog;
  log: Log;
  keyColumns: (table: string) => Promise<readonly string[]>;
  visible: (last: BinlogChange["source"]) => Promise<void>;
  onTaken: () => void;
  onPosition: (published: BinlogPosition) => void;
}): ChangePublisher {
  const { database, eventLog, log } = options;
  const buffer: BinlogChange[] = [];
  /** How many changes at the front of the buffer belong to finished transactions. */
  let finished = 0;
  let bytes = 0;
  /** The position behind the finished changes, until it is published. */
  let position: BinlogPosition | null = null;
  let positionDueAt = 0;
  /** Has the beginning of the unfinished transaction been published? */
  let begun = false;
  const stopping = new AbortController();
  let news = Promise.withResolvers<void>();

  return {
    add(change) {
      buffer.push(change);
      bytes += change.bytes;
      if (fill() >= 1) news.resolve();
    },
    commit(next) {
      finished = buffer.length;
      position = next;
      // Every piece of this transaction may have gone already.
      if (begun) positionDueAt = 0;
      begun = false;
      news.resolve();
    },
    rollback() {
      for (const change of buffer.splice(finished)) bytes -= change.bytes;
      if (begun) log.error("the beginning of a large transaction was published, and then it was rolled back");
    },
    fill,
    waiting: () => ({ changes: buffer.length, since: buffer[0]?.source.ts_ms ?? null }),
    async run() {
      while (!stopping.signal.aborted) {
        const { records, last, behind } = await takeBatch();
        options.onTaken();
        if (records.length === 0) {
          await waitForNews();
          continue;
        }
        if (last) await options.visible(last);
        await eventLog.publish(records);
        if (behind) options.onPosition(behind);
      }
    },
    stop() {
      stopping.abort();
      news.resolve();
    },
  };

  function fill(): number {
    return Math.max(buffer.length / bufferedChanges, bytes / bufferedBytes);
  }

  async function takeBatch(): Promise<Batch> {
    const records: EventRecord[] = [];
    let last: Batch["last"] = null;
    let size = 0;
    begun ||= finished === 0 && fill() >= 1;
    while (records.length < batchRecords && size < batchBytes) {
      const change = finished > 0 || begun ? buffer.shift() : undefined;
      if (!change) break;
      last = change.source;
      bytes -= change.bytes;
      finished = Math.max(0, finished - 1);
      const keyColumns = change.keyColumns ?? (await options.keyColumns(change.source.table));
      for (const record of encode(change, keyColumns)) {
        records.push(record);
        size += record.value.length;
      }
    }
    // While finished changes are waiting, the position is theirs.
    if (!position || finished > 0 || (records.length === 0 && Date.now() < positionDueAt))
      return { records, last, behind: null };
    const behind = position;
    position = null;
    positionDueAt = Date.now() + idlePositionMs;
    records.push({ topic: offsetsTopic, key: database, value: JSON.stringify(behind) });
    return { records, last, behind };
  }

  async function waitForNews(): Promise<void> {
    const timer = setTimeout(() => news.resolve(), idlePositionMs);
    await news.promise;
    clearTimeout(timer);
    news = Promise.withResolvers();
  }

  /** A change of the key itself is told as Debezium does it: the old row is gone, and there is a new one. */
  function encode(change: BinlogChange, keyColumns: readonly string[]): EventRecord[] {
    const { op, before, after } = change;
    if (op === "u" && recordKey(change, before, keyColumns) !== recordKey(change, after, keyColumns)) {
      const gone: BinlogChange = { ...change, op: "d", after: null };
      return [...encode(gone, keyColumns), ...encode({ ...change, op: "c", before: null }, keyColumns)];
    }
    const topic = changeTopic(change.source.table);
    const shown = { before: withoutSecrets(before), after: withoutSecrets(after) };
    const debezium: DebeziumChange = { ...shown, op, source: change.source, ts_ms: Date.now() };
    const record = { topic, key: recordKey(change, after ?? before, keyColumns), value: JSON.stringify(debezium) };
    if (Buffer.byteLength(record.value) <= limits.valueBytes) return [record];
    if (op === "u" && before) return encode({ ...change, before: null }, keyColumns);
    const { table, file, pos, row } = change.source;
    log.error(`a changed row is larger than ${limits.valueBytes} bytes and is skipped`, { table, op, file, pos, row });
    return [];
  }
}

/** The same row without what must not leave the database. */
function withoutSecrets(row: Row | null): Row | null {
  if (!row || !secretColumns.some((column) => column in row)) return row;
  return Object.fromEntries(Object.entries(row).filter(([column]) => !secretColumns.includes(column)));
}

/** The values of the primary key with a colon between them; a table without one keeps the order of all its changes. */
function recordKey({ source }: BinlogChange, row: Row | null, keyColumns: readonly string[]): string {
  if (keyColumns.length === 0) return source.table.slice(0, limits.keyLength);
  const key = keyColumns.map((column) => String(row?.[column])).join(":");
  return key.length <= limits.keyLength ? key : createHash("sha256").update(key).digest("hex");
}
