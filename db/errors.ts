import { DrizzleQueryError } from "drizzle-orm";

/** What a failed query means for its caller. */
export type DatabaseFault = "duplicate" | "conflict" | "timeout" | "busy" | "unavailable";

const faults: Record<string, DatabaseFault> = {
  ER_DUP_ENTRY: "duplicate",
  ER_LOCK_DEADLOCK: "conflict",
  ER_LOCK_WAIT_TIMEOUT: "conflict",
  ER_CHECKREAD: "conflict",
  ER_STATEMENT_TIMEOUT: "timeout",
  ER_QUERY_TIMEOUT: "timeout",
  ER_QUERY_INTERRUPTED: "unavailable",
  ER_CON_COUNT_ERROR: "busy",
  ER_TOO_MANY_USER_CONNECTIONS: "busy",
  ER_SERVER_SHUTDOWN: "unavailable",
  ER_CONNECTION_KILLED: "unavailable",
  ER_NORMAL_SHUTDOWN: "unavailable",
  PROTOCOL_CONNECTION_LOST: "unavailable",
  PROTOCOL_ENQUEUE_AFTER_FATAL_ERROR: "unavailable",
  PROTOCOL_ENQUEUE_AFTER_QUIT: "unavailable",
  POOL_CLOSED: "unavailable",
  ECONNREFUSED: "unavailable",
  ECONNRESET: "unavailable",
  ENOENT: "unavailable",
  ENOTFOUND: "unavailable",
  EPIPE: "unavailable",
  ETIMEDOUT: "unavailable",
  ERR_STREAM_WRITE_AFTER_END: "unavailable",
};

/** MariaDB numbers that mysql2 does not know by name. */
const faultsByNumber: Record<number, DatabaseFault> = { 1020: "conflict", 1927: "unavailable", 1969: "timeout" };

/** The fault behind an error, or null when the error is no fault of the database (a bad statement is our bug, not its). */
export function databaseFault(error: unknown): DatabaseFault | null {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code, errno } = cause as { code?: unknown; errno?: unknown };
    if (typeof code === "string" && faults[code]) return faults[code];
    if (typeof errno === "number" && faultsByNumber[errno]) return faultsByNumber[errno];
    if (cause.message === "Queue limit reached.") return "busy";
    if (/closed state|Pool is closed/.test(cause.message)) return "unavailable";
  }
  return null;
}

/** The same error without the values that Drizzle puts into its message: they are users' data and stay out of logs. */
export function withoutValues(error: unknown): unknown {
  return error instanceof DrizzleQueryError ? new Error(`query failed: ${error.query}`, { cause: error.cause }) : error;
}
