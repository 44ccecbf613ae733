import ZongJi, {
  type AnyBinlogEvent,
  type BinlogEventByTypeName,
  type BinlogEventTypeName,
  type RowsEvent,
} from "@vlasky/zongji";

import type { Log } from "../log.ts";
import type { DebeziumChange, Row } from "./change-event.ts";

/** A place between two transactions. */
export interface BinlogPosition {
  file: string;
  pos: number;
  /**
   * When the server began this file, milliseconds since 1970: a server that was set up anew begins again with the same names,
   * and its files must not be read from the old one's position.
   */
  fileBegun: number;
}

export interface BinlogChange extends Pick<DebeziumChange, "op" | "before" | "after" | "source"> {
  /** The columns of the primary key in its order, none without a key; undefined when the log does not tell. */
  keyColumns: readonly string[] | undefined;
  /** About how much memory it takes. */
  bytes: number;
}

export interface BinlogOptions {
  mysqlUrl: string;
  database: string;
  serverId: number;
  log: Log;
  /** Null: the oldest that the server still has. */
  from: BinlogPosition | null;
  /** The server accepted the position and has begun to send. */
  onReading(): void;
  /** Called for each changed row, in the order of the log. */
  onChange(change: BinlogChange): void;
  /** All changes so far belong to finished transactions; also called when there were none, as in other databases' transactions. */
  onCommit(position: BinlogPosition): void;
  /** The changes since the last commit did not happen. */
  onRollback(): void;
  /** Some table's structure may have changed. */
  onSchemaChange(): void;
}

export interface BinlogReader {
  /** Stops the stream from the server; at most one event's changes still come. */
  pause(): void;
  resume(): void;
  /** Rejects when reading has ended, for whatever reason. */
  ended: Promise<never>;
  stop(): void;
}

/** The position to start from does not exist (any more): changes may be lost. */
export class PositionGone extends Error {
  override name = "PositionGone";
}

/** Written by the migrations and of no meaning to a reader. */
const skippedTables = ["__drizzle_migrations"];
const heartbeatMs = 5_000;
const longestSilenceMs = 4 * heartbeatMs;

/**
 * Reads the row changes of one database from the server's binlog, as a replica does. Its user needs REPLICATION SLAVE,
 * REPLICATION CLIENT and SELECT.
 */
export function readBinlog(options: BinlogOptions): BinlogReader {
  const { database, from, log } = options;
  const end = Promise.withResolvers<never>();
  end.promise.catch(() => {});
  // Times as UTC text, and JSON as the text that it is.
  const connection = {
    uri: options.mysqlUrl,
    dateStrings: true,
    jsonStrings: true,
    timezone: "Z",
    connectTimeout: 5_000,
  };
  const zongji = new ZongJi(connection);
  const keyColumnsOf = new Map<number, readonly string[] | undefined>();
  let fileBegun = 0;
  let reading = false;
  /** Where the open transaction began, and how many of its changes have come. */
  let transaction: { file: string; pos: number; rows: number } | null = null;
  let ended = false;
  let paused = false;
  let heardAt = Date.now();

  zongji.on("ready", () => {
    // The name before MySQL 8.0.26 (and MariaDB's), and the one since. Nanoseconds.
    const sql = `SET @master_heartbeat_period = ${heartbeatMs * 1e6}, @source_heartbeat_period = ${heartbeatMs * 1e6}`;
    zongji.connection?.query(sql);
  });
  zongji.on("binlog", (event) => {
    if (ended) return;
    heardAt = Date.now();
    try {
      take(event);
    } catch (error) {
      fail(error instanceof Error ? error : new Error(String(error)));
    }
  });
  zongji.on("error", (error) => {
    // Without column names in the log, zongji asks the server for a table's columns as they are today.
    const missing = error.message.startsWith("Insufficient permissions to access: ");
    if (!missing && !error.message.includes("schema changed between")) {
      return fail(isPositionGone(error) ? new PositionGone(error.message) : error);
    }
    const hint =
      "changes of a table as it once was cannot be read and are skipped; binlog_row_metadata=FULL prevents this";
    log.error(hint, { error });
    // At a missing table it halts, which would hold up all others.
    if (missing && !paused) zongji.connection?.resume();
  });
  const watchdog = setInterval(() => {
    if (paused || Date.now() - heardAt < longestSilenceMs) return;
    fail(new Error(`the server sent nothing for ${longestSilenceMs} ms, not even a heartbeat`));
  }, 1_000);
  zongji.start({
    serverId: options.serverId,
    ...(from && { filename: from.file, position: from.pos }),
    includeSchema: { [database]: true },
    excludeSchema: { [database]: skippedTables },
  });

  return {
    pause() {
      paused = true;
      zongji.connection?.pause();
    },
    resume() {
      paused = false;
      heardAt = Date.now();
      zongji.connection?.resume();
    },
    ended: end.promise,
    stop: () => fail(new Error("stopped")),
  };

  function take(event: AnyBinlogEvent): void {
    if (is(event, "Format")) {
      beginFile(event.timestamp);
    } else if (is(event, "TableMap")) {
      transaction ??= { file: zongji.options.filename ?? "", pos: zongji.options.position ?? 0, rows: 0 };
      keyColumnsOf.set(event.tableId, keyColumns(event));
    } else if (is(event, "WriteRows")) {
      for (const row of event.rows) change(event, "c", null, row, event.rows.length);
    } else if (is(event, "UpdateRows")) {
      for (const { before, after } of event.rows) change(event, "u", before, after, event.rows.length);
    } else if (is(event, "DeleteRows")) {
      for (const row of event.rows) change(event, "d", row, null, event.rows.length);
    } else if (is(event, "Xid")) {
      commit();
    } else if (is(event, "XaPrepare")) {
      log.error("an XA transaction was prepared; its changes count as committed, also if it is rolled back");
      commit();
    } else if (is(event, "Query")) {
      query(event.query.trim().toUpperCase());
    } else if (is(event, "Heartbeat")) {
      // It is seldom used, and the server hangs up on idle connections.
      zongji.ctrlConnection?.ping(() => {});
    }
  }

  function beginFile(begun: number): void {
    fileBegun = begun;
    keyColumnsOf.clear();
    if (from && zongji.options.filename === from.file && begun !== from.fileBegun) {
      throw new PositionGone(`${from.file} is not the file of this name that was read before`);
    }
    if (!reading) options.onReading();
    reading = true;
    commit();
  }

  function query(sql: string): void {
    if (/^(BEGIN$|SAVEPOINT |ROLLBACK TO |XA )/.test(sql)) return;
    if (sql === "ROLLBACK") options.onRollback();
    else if (sql !== "COMMIT") options.onSchemaChange();
    commit();
  }

  function commit(): void {
    transaction = null;
    options.onCommit({ file: zongji.options.filename ?? "", pos: zongji.options.position ?? 0, fileBegun });
  }

  function change(event: RowsEvent, op: BinlogChange["op"], before: Row | null, after: Row | null, rows: number): void {
    const table = zongji.tableMap[event.tableId]?.tableName;
    if (!table || !transaction) throw new Error("rows came without their table");
    const source: BinlogChange["source"] = {
      connector: "mysql",
      db: database,
      table,
      ...(event.gtid && { gtid: event.gtid }),
      file: transaction.file,
      pos: transaction.pos,
      row: transaction.rows++,
      ts_ms: event.timestamp,
    };
    const bytes = Math.ceil(event.size / rows);
    options.onChange({
      op,
      before: before && plain(before),
      after: after && plain(after),
      source,
      bytes,
      keyColumns: keyColumnsOf.get(event.tableId),
    });
  }

  function fail(error: Error): void {
    if (ended) return;
    ended = true;
    clearInterval(watchdog);
    zongji.stop();
    end.reject(error);
  }
}

function is<N extends BinlogEventTypeName>(event: AnyBinlogEvent, name: N): event is BinlogEventByTypeName<N> {
  return event.getTypeName() === name;
}

function keyColumns(event: BinlogEventByTypeName<"TableMap">): readonly string[] | undefined {
  const { columnNames, primaryKey = [] } = event;
  return columnNames && primaryKey.map((column) => columnNames[column] ?? "");
}

/** Bytes have no form in JSON. */
function plain(row: Row): Row {
  for (const column in row) {
    const value = row[column];
    if (value instanceof Uint8Array) row[column] = Buffer.from(value).toString("base64");
  }
  return row;
}

function isPositionGone({ message }: Error): boolean {
  return /could not find first log file|impossible position|position > file size/i.test(message);
}
