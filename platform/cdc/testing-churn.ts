import type { Connection, RowDataPacket } from "mysql2/promise";

interface Column {
  name: string;
  type: string;
  /** As in a CREATE TABLE. */
  fullType: string;
  nullable: boolean;
  length: number;
  inKey: boolean;
}

/** The tables of the connection's database, without the migrations' own. */
export async function tablesOf(db: Connection): Promise<string[]> {
  const [rows] = await db.query<RowDataPacket[]>(
    "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME",
  );
  return rows.map((row) => String(row["name"])).filter((name) => !name.startsWith("__"));
}

/**
 * Inserts, changes and deletes rows of every table, changes keys, and rolls back, with values at the ends of what each column can hold.
 * The same seed gives the same statements.
 *
 * @param options.integers "all" goes to the ends of 64 bits; "small" stays below 120, as ids do that a consumer can use.
 */
export async function churn(
  db: Connection,
  tables: readonly string[],
  options: { seed: number; rounds: number; integers: "all" | "small" },
): Promise<void> {
  const random = randomNumbers(options.seed);
  const valueOf = (column: Column) => valueFor(random, column, options.integers);
  const columns = new Map<string, Column[]>();
  for (const table of tables) columns.set(table, await columnsOf(db, table));
  for (let round = 0; round < options.rounds; round++) {
    for (const [table, list] of columns) {
      const names = list.map(({ name }) => `\`${name}\``);
      const [place] = [list.filter(({ inKey }) => inKey)];
      const change = pick(random, list);
      const insert = `INSERT IGNORE INTO \`${table}\` (${names.join(", ")}) VALUES ?`;
      await db.query("BEGIN");
      await db.query(insert, [Array.from({ length: 4 }, () => list.map(valueOf))]);
      await db.query(`UPDATE IGNORE \`${table}\` SET \`${change.name}\` = ? ORDER BY RAND(${round}) LIMIT 2`, [
        valueOf(change),
      ]);
      await db.query(random() < 0.2 ? "ROLLBACK" : "COMMIT");
      const keyColumn = pick(random, place);
      await db.query(`UPDATE IGNORE \`${table}\` SET \`${keyColumn.name}\` = ? ORDER BY RAND(${round}) LIMIT 1`, [
        valueOf(keyColumn),
      ]);
      if (round % 3 === 2) await db.query(`DELETE FROM \`${table}\` ORDER BY RAND(${round}) LIMIT 2`);
    }
  }
}

async function columnsOf(db: Connection, table: string): Promise<Column[]> {
  const [rows] = await db.query<RowDataPacket[]>(
    `SELECT COLUMN_NAME AS name, DATA_TYPE AS type, COLUMN_TYPE AS fullType, IS_NULLABLE AS nullable,
       CHARACTER_MAXIMUM_LENGTH AS length, COLUMN_KEY AS columnKey
     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`,
    [table],
  );
  return rows.map((row) => ({
    name: String(row["name"]),
    type: String(row["type"]),
    fullType: String(row["fullType"]),
    nullable: row["nullable"] === "YES",
    length: Math.min(Number(row["length"] ?? 0), 2_000),
    inKey: row["columnKey"] === "PRI",
  }));
}

const ends: Record<string, string[]> = {
  bigint: [
    "-9223372036854775808",
    "9223372036854775807",
    "9007199254740993",
    "-9007199254740993",
    "9007199254740991",
    "0",
  ],
  "bigint unsigned": ["18446744073709551615", "9223372036854775808", "9007199254740992", "0"],
  int: ["-2147483648", "2147483647", "0"],
  "int unsigned": ["4294967295", "0"],
  tinyint: ["-128", "127", "0", "1"],
};
const texts = ["", "a", "🎬👩‍👩‍👧", "你好", "'quoted' \\ \"\n\t", "é\u0301 ß", "null", "x".repeat(2_000)];
const others: Record<string, string[]> = {
  decimal: ["-12.30", "0.00", "99999999.99"],
  date: ["2026-01-02", "1970-01-01", "9999-12-31"],
  datetime: ["2026-01-02 03:04:05.678", "1969-12-31 23:59:59.001", "9999-12-31 23:59:59.000"],
  timestamp: ["2026-01-02 03:04:05.678901", "1970-01-01 00:00:01.000000", "2038-01-19 03:14:07.000001"],
  double: ["0.1", "-1e300", "5"],
};

function valueFor(random: () => number, column: Column, range: "all" | "small"): unknown {
  const { type, fullType, length } = column;
  if (column.nullable && random() < 0.25) return null;
  const kind = `${type}${fullType.endsWith("unsigned") ? " unsigned" : ""}`;
  const limits = ends[kind];
  if (limits) return range === "all" && random() < 0.5 ? pick(random, limits) : String(Math.floor(random() * 120));
  if (type === "enum") return pick(random, [...fullType.matchAll(/'([^']*)'/g)])[1];
  if (type === "varbinary") return Buffer.from([0, 255, 10, Math.floor(random() * 256)]);
  // MariaDB's JSON is a long text.
  if (type === "longtext") return pick(random, ['{"a": [1, null, "é"]}', "[]", "12345678901234567890"]);
  if (type === "varchar" || type === "text") {
    const text = `${pick(random, texts)}${Math.floor(random() * 1e6)}`;
    return Array.from(text).slice(-length).join("");
  }
  const choices = others[type];
  if (!choices) throw new Error(`no values for a column of type ${fullType}`);
  return pick(random, choices);
}

function pick<T>(random: () => number, list: readonly T[]): T {
  const item = list[Math.floor(random() * list.length)];
  if (item === undefined) throw new RangeError("an empty list");
  return item;
}

/** Numbers from 0 to 1 (Park and Miller's generator). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
