import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { createPool } from "mysql2/promise";
import * as v from "valibot";

import type { EventLog, EventRecord } from "../event-log/event-log.ts";
import { limits } from "../event-log/limits.ts";
import type { Log } from "../log.ts";
import { PositionGone, readBinlog, type BinlogChange, type BinlogPosition, type BinlogReader } from "./binlog.ts";
import type { DebeziumChange, Row } from "./change-event.ts";
import { checkBinlogSettings, findKeyColumns } from "./mysql-catalog.ts";

export interface BinlogTailerOptions {
  mysqlUrl: string;
  /** Whose tables are followed. */
  database: string;
  eventLog: EventLog;
  log: Log;
  /** Number of a replica: different from the server's and from every other reader's. */
  serverId: number;
}

export interface BinlogTailer {
  status(): TailerStatus;
  /** Ends after the publish under way; what was read and not published is read again at the next start. */
  stop(): Promise<void>;
}

export interface TailerStatus {
  /** Is the server sending its log (or held back because publishing is slow)? */
  reading: boolean;
  /** Where the next start would begin; null before the first position is known. */
  published: { file: string; pos: number } | null;
  /** Changes read and not yet published. */
  buffered: number;
  /** Age in milliseconds of the oldest change that is not yet published. */
  lagMs: number;
}

export const offsetsTopic = "cdc.offsets";

/** Reading stops at either, and goes on at half of both. */
const bufferedChanges = 2_000;
const bufferedBytes = 2 * 1024 * 1024;
/** How often a position is stored while nothing that concerns us changes. */
const idlePositionMs = 10_000;
const longestBackOffMs = 5_000;

/**
 * Follows a MySQL or MariaDB server's binlog and publishes every row change of one database to `cdc.<table>`, keyed by the
 * primary key, as {@link DebeziumChange}. A transaction's changes are published in one call together with the position behind
 * it, the last record of that call, in topic `cdc.offsets`: so position and changes stand or fall together, and a tailer that is
 * killed at any moment goes on without a gap (some changes may come twice). Only a transaction too large for the buffer goes in
 * several calls, the position with the last.
 *
 * When either server is away, it tries until both are back and goes on behind the last published position. Neither an XA
 * transaction that is rolled back after its preparation, nor TRUNCATE, nor DROP TABLE is seen as what it is.
 */
export function createBinlogTailer(options: BinlogTailerOptions): BinlogTailer {
  const { database, eventLog, log } = options;
  const mysql = createPool({ uri: options.mysqlUrl, connectionLimit: 1, idleTimeout: 30_000, connectTimeout: 5_000 });
  const stopping = new AbortController();
  const buffer: BinlogChange[] = [];
  /** How many changes at the buffer's front belong to finished transactions, and the position behind them. */
  let finished = 0;
  let position: BinlogPosition | null = null;
  let published: BinlogPosition | null = null;
  let publishedAt = Date.now();
  let bytes = 0;
  let reader: BinlogReader | null = null;
  let reading = false;
  let held = false;
  let wake = Promise.withResolvers<void>();
  const keyColumns = new Map<string, Promise<string[]>>();

  const running = run();
  return {
    status: () => ({
      reading,
      published: published && { file: published.file, pos: published.pos },
      buffered: buffer.length,
      lagMs: buffer[0] ? Math.max(0, Date.now() - buffer[0].source.ts_ms) : 0,
    }),
    async stop() {
      stopping.abort();
      reader?.stop();
      await running;
    },
  };

  async function run(): Promise<void> {
    let failures = 0;
    let startOver = false;
    while (!stopping.signal.aborted) {
      try {
        await follow(startOver ? null : await lastPosition(), () => {
          failures = 0;
          startOver = false;
        });
      } catch (error) {
        if (stopping.signal.aborted) break;
        if (error instanceof PositionGone) {
          log.error("the stored position is gone from the server: changes are lost, starting at its oldest binlog", { error });
          startOver = true;
        } else if (failures++ === 0) {
          log.warn("following the binlog was interrupted; trying until it works", { error });
        }
        const backOffMs = Math.min(longestBackOffMs, 100 * 2 ** failures) * (0.5 + Math.random() / 2);
        await sleep(backOffMs, undefined, { signal: stopping.signal }).catch(() => {});
      }
    }
    await mysql.end();
  }
}
