import type { Database, Transaction } from "./client.ts";
import { databaseFault } from "./errors.ts";

const attempts = 4;

/**
 * Runs a transaction, and runs it again when the server chose it as the victim of a deadlock or it lost a wait for a lock, up to
 * four times. `work` may therefore run more than once and must have no effect outside of the transaction.
 *
 * @param options.retryDuplicates also run it again when a unique key refused a row: `work` reads what is there before it inserts the rest, and
 * somebody else was faster in between.
 */
export async function transact<T>(
  db: Database,
  work: (tx: Transaction) => Promise<T>,
  options: { retryDuplicates?: boolean } = {},
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.transaction(work);
    } catch (error) {
      const fault = databaseFault(error);
      const again = fault === "conflict" || (fault === "duplicate" && options.retryDuplicates);
      if (attempt === attempts || !again) throw error;
      await Bun.sleep(Math.random() * 10 * 2 ** attempt);
    }
  }
}
