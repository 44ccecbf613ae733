import ZongJi, { type AnyBinlogEvent, type RowData } from "@vlasky/zongji";

import type { Log } from "../log.ts";
import type { DebeziumChange, Row } from "./change-event.ts";

/** A place between two transactions. */
export interface BinlogPosition {
  file: string;
  pos: number;
  /**
   * When the server began this file, milliseconds since 1970: a server that was set up anew begins again with the same file
   * names, and its files must not be read from the old one's position.
   */
  fileBegun: number;
}

export interface BinlogOptions {
  mysqlUrl: string;
  database: string;
  serverId: number;
  log: Log;
  /** Null: the oldest that the server still has. */
  from: BinlogPosition | null;
  onReading(): void;
  /** Called for each changed row, in the order of the log. */
  onChange(change: BinlogChange): void;
  /** All changes before this one belong to finished transactions. */
  onCommit(position: BinlogPosition): void;
  /** The changes since the last commit never happened. */
  onRollback(): void;
  /** The structure of some table has changed. */
  onSchemaChange(): void;
}

export interface BinlogChange {
  table: string;
  /** The columns of the primary key, in its order; none without a key; undefined when the log does not tell. */
  keyColumns: readonly string[] | undefined;
  op: DebeziumChange["op"];
  before: Row | null;
  after: Row | null;
  source: DebeziumChange["source"];
  /** About how much memory it takes. */
  bytes: number;
}

export interface BinlogReader {
  /** Stops the stream from the server; changes already received may still come. */
  pause(): void;
  resume(): void;
  /** Rejects when reading has ended, for whatever reason. */
  failed: Promise<never>;
  stop(): void;
}

/** The position to start at does not exist (any more), so changes may have been lost. */
export class PositionGone extends Error {
  override name = "PositionGone";
}

/** Tables that change without meaning anything to a reader. */
const skippedTables = ["__drizzle_migrations"];
const heartbeatSeconds = 5;
const silentForMs = 4 * heartbeatSeconds * 1_000;

/** Reads the row changes of one database from the server's binlog, as a replica would. */
export function readBinlog(options: BinlogOptions): BinlogReader {
  const { log, from } = options;
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const zongji = new ZongJi(connectionOptions(options.mysqlUrl));
  const keys = new Map<number, readonly string[] | undefined>();
  let fileBegun = 0;
  let inTransaction = false;
  let start = { file: "", pos: 0 };
  let row = 0;
  let ended = false;
  let paused = false;
  let heardAt = Date.now();

  zongji.on("error", (error) => {
    if (!isUnreadableTable(error)) return end(isPositionGone(error) ? new PositionGone(error.message) : error);
    // Without column names in the log, zongji asks the server for today's, and these changes are older than today's table. It
    // stays halted at them, so they would hold up all others for ever.
    log.error("changes of a table cannot be read any more and are skipped; set binlog_row_metadata=FULL on the server", { error });
    zongji.connection?.resume();
  });
  zongji.on("ready", () => {
    const nanoseconds = heartbeatSeconds * 1e9;
    // The first name is MariaDB's and older MySQL's, the second newer MySQL's.
    const sql = `SET @master_heartbeat_period = ${nanoseconds}, @source_heartbeat_period = ${nanoseconds}`;
    zongji.connection?.query(sql);
  });
  zongji.on("binlog", (event) => {
    if (ended) return;
    heardAt = Date.now();
    try {
      take(event);
    } catch (error) {
      end(error instanceof Error ? error : new Error(String(error)));
    }
  });
  const watchdog = setInterval(() => {
    if (!paused && Date.now() - heardAt > silentForMs) {
      end(new Error(`the server sent nothing for ${silentForMs} ms, not even a heartbeat`));
    }
  }, 1_000);
  zongji.start({
    serverId: options.serverId,
    ...(from && { filename: from.file, position: from.pos }),
    includeSchema: { [options.database]: true },
    excludeSchema: { [options.database]: skippedTables },
  });

  return { pause, resume, failed: failed.promise, stop: () => end(new Error("stopped")) };

  function take(event: AnyBinlogEvent): void {
    switch (event.getTypeName()) {
      case "Format": {
        checkFile(event.timestamp);
        options.onReading();
        return;
      }
      default:
    }
  }
}
