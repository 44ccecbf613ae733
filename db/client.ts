import type { Socket } from "node:net";

import { drizzle, type MySql2Database } from "drizzle-orm/mysql2";
import { createPool, type Pool } from "mysql2/promise";

export type Database = MySql2Database;

/** A transaction of {@link Database}, as its callback receives it. */
export type Transaction = Parameters<Parameters<Database["transaction"]>[0]>[0];

export interface DatabaseOptions {
  /** `mysql://user:password@host:port/database` */
  url: string;
  /** Connections at most; more queries than connections wait in a queue of at most 32 times as many. Default 16. */
  connections?: number;
  /** Milliseconds after which a server that says nothing counts as gone. Default 15 000. */
  silenceMs?: number;
}

const statementLimitMs = 5_000;

/**
 * A pool of connections to MySQL 8.4 or MariaDB 10.11. Nothing connects before the first query. A connection is given up after
 * 3 s of trying; a statement is stopped by the server after 5 s, waiting for a lock included, and fails when there is not even that
 * answer after 15 s; a full queue fails at once.
 */
export function connectDatabase(options: DatabaseOptions): { db: Database; close(): Promise<void> } {
  const connectionLimit = options.connections ?? 16;
  const pool = createPool({
    uri: options.url,
    connectionLimit,
    maxIdle: connectionLimit,
    idleTimeout: 60_000,
    queueLimit: connectionLimit * 32,
    connectTimeout: 3_000,
    enableKeepAlive: true,
    charset: "utf8mb4_bin",
    timezone: "Z",
    supportBigNumbers: true,
    maxPreparedStatements: 500,
  });
  prepareSessions(pool);
  giveUpSilence(pool, options.silenceMs ?? 15_000);
  return { db: drizzle(pool, { casing: "snake_case" }), close: () => pool.end() };
}

/**
 * READ COMMITTED takes no gap locks, so that writers of neighbouring rows do not wait for each other. The statement limit has a
 * name of its own in MariaDB and in MySQL (there for reads only); each server skips the comment that is for the other one.
 */
function prepareSessions(pool: Pool): void {
  const seconds = statementLimitMs / 1000;
  const statements = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    `SET SESSION innodb_lock_wait_timeout = ${seconds}` +
      ` /*M!100101 , max_statement_time = ${seconds} */ /*!80000 , max_execution_time = ${statementLimitMs} */`,
  ];
  pool.pool.on("connection", (connection) => {
    for (const statement of statements) {
      connection.query(statement, (error) => {
        if (error) connection.destroy();
      });
    }
  });
}

/**
 * Ends connections on which a query has waited so long. A host that vanishes, as in a failover, breaks nothing off: TCP would go on trying
 * for a quarter of an hour, and the pool would have no connection left.
 */
function giveUpSilence({ pool }: Pool, silenceMs: number): void {
  const gone = () => Object.assign(new Error(`MySQL has said nothing for ${silenceMs} ms`), { code: "ETIMEDOUT" });
  pool.on("connection", ({ stream }: WithSocket) => stream.on("timeout", () => stream.destroy(gone())));
  pool.on("acquire", ({ stream }: WithSocket) => stream.setTimeout(silenceMs));
  pool.on("release", ({ stream }: WithSocket) => stream.setTimeout(0));
}

/** As mysql2's connections are, which its types do not tell. */
interface WithSocket {
  stream: Socket;
}
