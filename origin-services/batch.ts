import { databaseFault } from "@flick/db/errors.ts";
import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

export interface BatcherOptions<Item, Result> {
  /**
   * Writes all items in one transaction. Resolves, after the commit, to one result per item in the items' order; rejects when
   * nothing was written. It may be called again with some of the same items after it rejected. A result that is a promise is
   * waited for by its caller only, not by the next batch.
   */
  commit: (items: readonly Item[]) => Promise<readonly (Result | Promise<Result>)[]>;
  /** Items in one transaction at most. Default 512. */
  maxBatch?: number;
  /** Items that wait at most, beside those being committed; more are refused with BUSY. Default 8192. */
  maxQueue?: number;
}

interface Waiting<Item, Result> {
  item: Item;
  resolve: (result: Result | Promise<Result>) => void;
  reject: (error: unknown) => void;
}

/**
 * Lets concurrent writes of one kind share a commit: while one transaction is in flight the next items gather, and then go together.
 * There is no timer: an item that comes alone is written as soon as the event loop has handed out what came with it. Items are written in the
 * order in which they came.
 *
 * Faults that are nobody's (the database, or a service that was asked, is away or too slow) end the whole batch. Any other error is
 * somebody's item: the batch is written again in halves until the item stands alone, and fails alone.
 *
 * @returns a function that resolves when its item is committed.
 */
export function createBatcher<Item, Result>(options: BatcherOptions<Item, Result>): (item: Item) => Promise<Result> {
  const { commit, maxBatch = 512, maxQueue = 8192 } = options;
  let queue: Waiting<Item, Result>[] = [];
  let busy = false;

  async function drain(): Promise<void> {
    busy = true;
    while (queue.length > 0) {
      // Those who were just answered, or came in the same packet, would else find the first of them gone on alone.
      await nextTurn();
      const batch = queue.slice(0, maxBatch);
      queue = queue.slice(maxBatch);
      await write(batch);
    }
    busy = false;
  }

  async function write(batch: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await commit(batch.map(({ item }) => item));
      if (results.length !== batch.length) throw new RangeError(`${batch.length} items had ${results.length} results`);
      batch.forEach(({ resolve }, index) => resolve(results[index] as Result | Promise<Result>));
    } catch (error) {
      if (batch.length === 1 || isOutage(error)) {
        for (const { reject } of batch) reject(error);
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await write(batch.slice(0, middle));
      await write(batch.slice(middle));
    }
  }

  return (item) => {
    if (queue.length >= maxQueue) {
      return Promise.reject(flickError(Reason.BUSY, `more than ${maxQueue} writes are waiting: try again`));
    }
    return new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject });
      if (!busy) void drain();
    });
  };
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

const outages: ReadonlySet<Reason> = new Set([Reason.UNAVAILABLE, Reason.TIMEOUT, Reason.BUSY]);

function isOutage(error: unknown): boolean {
  const fault = databaseFault(error);
  return fault === null ? outages.has(reasonOf(error)) : fault !== "duplicate";
}
