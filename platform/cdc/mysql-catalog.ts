import type { Pool } from "mysql2/promise";

import { askMysql } from "./ask-mysql.ts";

/** What a server must log so that every change can be read. */
const needed = { log_bin: "ON", binlog_format: "ROW", binlog_row_image: "FULL" };

/**
 * @returns whether the log tells the columns of each table as they were at the time; MariaDB 10.5, MySQL 8.0 and later can.
 * @throws when the server's binlog cannot be used, naming every setting that is wrong.
 */
export async function checkBinlogSettings(mysql: Pool): Promise<boolean> {
  const rows = await askMysql(mysql, {
    sql: "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata')",
  });
  const settings = new Map(rows.map((row) => [String(row["Variable_name"]), String(row["Value"])]));
  const wrong = Object.entries(needed).filter(([name, value]) => settings.get(name) !== value);
  if (wrong.length > 0) {
    const list = wrong.map(([name, value]) => `${name} is ${settings.get(name) ?? "unknown"} and must be ${value}`);
    throw new Error(`the server's binlog cannot be read: ${list.join("; ")}`);
  }
  return settings.get("binlog_row_metadata") === "FULL";
}

/** Looks up the columns of a table's primary key, in its order; none when it has no key or is not there any more. */
export async function findKeyColumns(mysql: Pool, database: string, table: string): Promise<string[]> {
  const rows = await askMysql(mysql, {
    sql: `SELECT COLUMN_NAME AS name FROM information_schema.KEY_COLUMN_USAGE
     WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND CONSTRAINT_NAME = 'PRIMARY' ORDER BY ORDINAL_POSITION`,
    values: [database, table],
  });
  return rows.map((row) => String(row["name"]));
}
