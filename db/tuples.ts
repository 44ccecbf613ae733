import { sql, type SQL } from "drizzle-orm";

/**
 * `(1, 2), (3, 4)`: rows of whole numbers, for VALUES or IN. They stand in the statement itself, because a thousand placeholders
 * cost Drizzle and the driver more time than the server needs for the work.
 *
 * @throws {TypeError} when a value is anything else than a whole number of at most 53 bits.
 */
export function tuples(rows: readonly (readonly number[])[]): SQL {
  for (const row of rows) {
    for (const value of row) {
      if (!Number.isSafeInteger(value)) throw new TypeError("a tuple holds whole numbers of at most 53 bits");
    }
  }
  return sql.raw(rows.map((row) => `(${row.join(", ")})`).join(", "));
}
