import { connectDatabase, type Database } from "@flick/db/client.ts";
import { withoutValues } from "@flick/db/errors.ts";
import { describe, runCommandLine, UsageError } from "@flick/platform/command.ts";
import { readEnv, url } from "@flick/platform/env.ts";
import { getTableName } from "drizzle-orm";

import { mendConversations, nextPairs, staleConversations, type Pair } from "./recount-conversations.ts";
import { countTables, differences, mend, nextIds, type CountTable } from "./recount.ts";

const help = `Counts again everything that is counted at MYSQL_URL, and compares it with the counters; also each conversation's newest message.

  bun run reconcile [--repair]

Prints a line per table. Exits 0 when nothing differs or --repair mended it, 1 when something differs, 2 when it could not be found out.
May run while the services work: it goes through the tables some rows at a time, reads without locks, and locks only what it mends.`;

export interface Reconciled {
  table: string;
  /** Rows that there are or should be. */
  checked: number;
  /** Those that were not as they should be. */
  drifted: number;
}

const defaultChunk = 500;

/**
 * @param options.repair mends what differs.
 * @param options.chunk rows that one statement looks at. Default 500.
 * @returns a line for every table, also for those in which nothing differs.
 */
export async function reconcile(
  db: Database,
  options: { repair?: boolean; chunk?: number } = {},
): Promise<Reconciled[]> {
  const { repair = false, chunk = defaultChunk } = options;
  const results: Reconciled[] = [];
  for (const table of countTables) results.push(await reconcileCounts(db, table, { repair, chunk }));
  results.push(await reconcileConversations(db, { repair, chunk }));
  return results;
}

interface Settings {
  repair: boolean;
  chunk: number;
}

async function reconcileCounts(db: Database, table: CountTable, { repair, chunk }: Settings): Promise<Reconciled> {
  const result = { table: getTableName(table.table), checked: 0, drifted: 0 };
  let ids: number[];
  // Below every id that could have been made, by mistake or not.
  let after = Number.MIN_SAFE_INTEGER;
  do {
    ids = await nextIds(db, table, after, chunk);
    const drifted = (await differences(db, table, ids)).entries().map(([id]) => id);
    if (repair && drifted.length > 0) await mend(db, table, drifted);
    result.checked += ids.length;
    result.drifted += drifted.length;
    after = ids.at(-1) ?? after;
  } while (ids.length === chunk);
  return result;
}

async function reconcileConversations(db: Database, { repair, chunk }: Settings): Promise<Reconciled> {
  const result = { table: "conversations", checked: 0, drifted: 0 };
  let pairs: Pair[];
  let after = { lowId: Number.MIN_SAFE_INTEGER, highId: 0 };
  do {
    pairs = await nextPairs(db, after, chunk);
    const drifted = await staleConversations(db, pairs);
    if (repair && drifted.length > 0) await mendConversations(db, drifted);
    result.checked += pairs.length;
    result.drifted += drifted.length;
    after = pairs.at(-1) ?? after;
  } while (pairs.length === chunk);
  return result;
}

/** @returns the exit code. */
async function main(repair: boolean): Promise<number> {
  const { MYSQL_URL } = readEnv({ MYSQL_URL: url("mysql:") });
  const { db, close } = connectDatabase({ url: MYSQL_URL, connections: 2 });
  try {
    const results = await reconcile(db, { repair });
    for (const { table, checked, drifted } of results) {
      const verdict = drifted === 0 ? "all as it should be" : `${drifted} ${repair ? "mended" : "differ"}`;
      process.stdout.write(`${table}: ${checked} rows, ${verdict}\n`);
    }
    return repair || results.every(({ drifted }) => drifted === 0) ? 0 : 1;
  } finally {
    await close();
  }
}

if (import.meta.main) {
  await runCommandLine({
    help,
    async run(args) {
      const unknown = args.find((argument) => argument !== "--repair");
      if (unknown !== undefined) throw new UsageError("unknown argument: only --repair is known");
      return main(args.includes("--repair"));
    },
    explain: (error) => describe(withoutValues(error)),
    failure: 2,
  });
}
