import { setTimeout as sleep } from "node:timers/promises";

import { createPool } from "mysql2/promise";
import * as v from "valibot";

import type { EventLog } from "../event-log/event-log.ts";
import type { Log } from "../log.ts";
import { PositionGone, readBinlog, type BinlogPosition } from "./binlog.ts";
import { offsetsTopic } from "../event-log/topics.ts";
import { createChangePublisher, type ChangePublisher } from "./change-publisher.ts";
import { checkBinlogSettings, findKeyColumns } from "./mysql-catalog.ts";
import { watchVisibleCommits } from "./visible-commits.ts";

export interface BinlogTailerOptions {
  /** Its user needs REPLICATION SLAVE, REPLICATION CLIENT and SELECT. */
  mysqlUrl: string;
  /** Whose tables are followed. */
  database: string;
  eventLog: EventLog;
  log: Log;
  /** Number of a replica: different from the server's own and from every other reader's. */
  serverId: number;
}

export interface BinlogTailer {
  status(): TailerStatus;
  /** Ends after the publish under way; what was read beyond it is read again at the next start. */
  stop(): Promise<void>;
}

export interface TailerStatus {
  /** Is the server sending (or held back because publishing is slower)? */
  reading: boolean;
  /** Where the next start begins, null while that is not known. */
  published: { file: string; pos: number } | null;
  /** Changes read and not yet given to the event log, and the age of the oldest in milliseconds (MySQL's clock, whole seconds). */
  waiting: { changes: number; ageMs: number };
}

const longestBackOffMs = 2_000;
/** A run of this length ends a row of failures. */
const steadyMs = 10_000;

/**
 * Follows the binlog of a MySQL or MariaDB server and publishes every row change of one database's tables to `cdc.<table>`,
 * keyed by the primary key, as `change-event.ts` describes. Changes and the position behind them are published in one call (topic
 * `cdc.offsets`), so that they stand or fall together: a tailer that is killed at any moment goes on without a gap, though some
 * changes may come twice. When one of the servers is away, it tries until both are there and goes on from the last published
 * position.
 *
 * TRUNCATE and DROP TABLE publish nothing. An XA transaction counts as committed when it is prepared. Tested with MariaDB 10.11;
 * with MySQL 8.4 (its caching_sha2_password login, its names for the heartbeat) not tried.
 */
export function createBinlogTailer(options: BinlogTailerOptions): BinlogTailer {
  const { mysqlUrl, database, eventLog, log, serverId } = options;
  const mysql = createPool({ uri: mysqlUrl, connectionLimit: 1, connectTimeout: 5_000, idleTimeout: 30_000 });
  const stopping = new AbortController();
  let publisher: ChangePublisher | null = null;
  let reading = false;
  let published: BinlogPosition | null = null;
  /** The stored position is of no use, until a better one is stored. */
  let fromOldest = false;
  const running = run();
  let stopped: Promise<void> | undefined;

  return {
    status() {
      const { changes, since } = publisher?.waiting() ?? { changes: 0, since: null };
      return {
        reading,
        published: published && { file: published.file, pos: published.pos },
        waiting: { changes, ageMs: since === null ? 0 : Math.max(0, Date.now() - since) },
      };
    },
    stop() {
      stopping.abort(new Error("the tailer was stopped"));
      stopped ??= running.then(() => mysql.end());
      return stopped;
    },
  };

  async function run(): Promise<void> {
    let failures = 0;
    let complaint = "";
    while (!stopping.signal.aborted) {
      const startedAt = Date.now();
      try {
        await follow(fromOldest ? null : await storedPosition());
      } catch (error) {
        if (stopping.signal.aborted) return;
        if (Date.now() - startedAt > steadyMs) failures = 0;
        if (error instanceof PositionGone) {
          const hint = "what they should have done has to be made good: bun run resync (docs/deploy.md)";
          log.error("the stored position is gone, changes may be lost: starting at the server's oldest binlog", {
            hint,
            error,
          });
          fromOldest = true;
        } else if (failures === 0 || String(error) !== complaint) {
          log.warn("the binlog cannot be followed; trying until it can", { error });
        }
        complaint = String(error);
      }
      const backOffMs = Math.min(longestBackOffMs, 100 * 2 ** failures++) * (0.5 + Math.random() / 2);
      await sleep(backOffMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  /** Reads and publishes from a position on, until one of them fails or the tailer is stopped. */
  async function follow(from: BinlogPosition | null): Promise<never> {
    if (!(await checkBinlogSettings(mysql))) {
      log.warn(
        "the server's binlog_row_metadata is not FULL: changes made before an ALTER TABLE may be misread after it",
      );
    }
    stopping.signal.throwIfAborted();
    const keyColumns = new Map<string, Promise<readonly string[]>>();
    const commits = watchVisibleCommits(mysql, stopping.signal);
    let held = false;
    const changes = createChangePublisher({
      database,
      eventLog,
      log,
      keyColumns(table) {
        const found = keyColumns.get(table) ?? findKeyColumns(mysql, database, table);
        keyColumns.set(table, found);
        return found;
      },
      visible: commits.until,
      onTaken() {
        if (!held || changes.fill() > 0.5) return;
        held = false;
        binlog.resume();
      },
      onPosition(position) {
        published = position;
        fromOldest = false;
      },
    });
    const binlog = readBinlog({
      mysqlUrl,
      database,
      serverId,
      log,
      from,
      onReading() {
        reading = true;
        log.info("following the binlog", { database, from: from ? `${from.file}:${from.pos}` : "the oldest" });
      },
      onChange(change) {
        changes.add(change);
        if (held || changes.fill() < 1) return;
        held = true;
        binlog.pause();
      },
      onCommit: changes.commit,
      onRollback: changes.rollback,
      onSchemaChange: () => keyColumns.clear(),
    });
    stopping.signal.addEventListener("abort", binlog.stop);
    publisher = changes;
    const publishing = changes.run().then(() => binlog.ended);
    try {
      return await Promise.race([binlog.ended, publishing]);
    } finally {
      reading = false;
      stopping.signal.removeEventListener("abort", binlog.stop);
      binlog.stop();
      changes.stop();
      await publishing.catch(() => {});
      publisher = null;
    }
  }

  async function storedPosition(): Promise<BinlogPosition | null> {
    const last = await eventLog.last(offsetsTopic);
    if (!last) return null;
    const parsed = v.safeParse(storedPositionSchema, last.value);
    if (parsed.success && last.key === database) return parsed.output;
    throw new PositionGone(`the newest record of ${offsetsTopic} is no position in ${database}`);
  }
}

const storedPositionSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ file: v.string(), pos: v.number(), fileBegun: v.number() }),
);
