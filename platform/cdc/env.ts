import * as v from "valibot";

import { readEnv, url, whole } from "../env.ts";
import { kafkaEnv } from "../event-log/open.ts";

/** The settings of the program, read from its environment. */
export function readCdcEnv() {
  return readEnv({
    /** Server, user and the one database to follow: `mysql://user:password@host:3306/flick`. */
    MYSQL_URL: v.pipe(
      url("mysql:"),
      v.check((text) => databaseOf(text) !== "", "must name the database: mysql://user:password@host:3306/database"),
    ),
    /** Holds the event log, unless that is on Kafka. */
    REDIS_URL: v.optional(url("redis:", "rediss:")),
    ...kafkaEnv,
    /** Number of this reader among the server's replicas. */
    CDC_SERVER_ID: v.optional(whole(1, 4_294_967_295), "8094"),
    /** Serves GET /healthz when it is there. */
    PORT: v.optional(whole(0, 65_535)),
    HOST: v.optional(v.string(), "127.0.0.1"),
    LOG_LEVEL: v.optional(v.picklist(["debug", "info", "warn", "error"], "must be debug, info, warn or error"), "info"),
  });
}

export function databaseOf(mysqlUrl: string): string {
  return decodeURIComponent(new URL(mysqlUrl).pathname.slice(1));
}
