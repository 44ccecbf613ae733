import { getTableColumns, sql, type SQL } from "drizzle-orm";
import type { MySqlTable } from "drizzle-orm/mysql-core";

import type { Transaction } from "./client.ts";
import { tuples } from "./tuples.ts";

/** What to add to the counters of some ids; an id or a counter that is not here stays as it is. */
export class CountChanges<Counter extends string> {
  readonly #changes = new Map<number, Map<Counter, number>>();

  add(id: number, counter: Counter, amount: number): void {
    const changes = this.#changes.get(id) ?? new Map<Counter, number>();
    changes.set(counter, (changes.get(counter) ?? 0) + amount);
    this.#changes.set(id, changes);
  }

  /** Those that come to something, in the order of their ids. */
  entries(): [id: number, changes: ReadonlyMap<Counter, number>][] {
    const some = [...this.#changes].filter(([, changes]) => [...changes.values()].some((amount) => amount !== 0));
    return some.toSorted(([one], [other]) => one - other);
  }
}

/**
 * Adds to counters in one statement, making the rows that are missing. Rows are touched in the order of their ids, so that two
 * transactions which add to the same ones wait for each other and never in a circle.
 *
 * @param key property of the id in the table's schema; the counters are its other properties.
 */
export async function addCounts<Counter extends string>(
  tx: Transaction,
  table: MySqlTable,
  key: string,
  counters: readonly Counter[],
  changes: CountChanges<Counter>,
): Promise<void> {
  const rows = changes
    .entries()
    .map(([id, amounts]) => [id].concat(counters.map((counter) => amounts.get(counter) ?? 0)));
  if (rows.length === 0) return;
  const columns = getTableColumns(table);
  const names = [key, ...counters].map((property) => {
    const column = columns[property];
    if (!column) throw new TypeError(`there is no column ${property}`);
    return sql.identifier(snakeCase(property));
  });
  const sums = names.slice(1).map((name) => sql`${name} = ${name} + VALUES(${name})`);
  await tx.execute(
    sql`INSERT INTO ${table} (${list(names)}) VALUES ${tuples(rows)} ON DUPLICATE KEY UPDATE ${list(sums)}`,
  );
}

const list = (parts: SQL[] | ReturnType<typeof sql.identifier>[]) => sql.join(parts, sql`, `);

/** How Drizzle names the column of a property under `casing: "snake_case"`. */
const snakeCase = (property: string) => property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
