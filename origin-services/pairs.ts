/** A request that a pair (who likes what, who follows whom) be there or not. */
export interface PairAction<Row> {
  pair: string;
  wanted: boolean;
  /** The row to insert where the pair is missing; null when there can be none. */
  row: Row | null;
}

export interface Settlement<Row> {
  inserts: Row[];
  deletes: Row[];
  /** For each action: could it be done? Only what has no row to insert cannot. */
  done: boolean[];
}

/**
 * What a batch of actions on pairs comes to when they are taken in their order: an action that already holds changes nothing, and of
 * several on one pair only the outcome is written.
 *
 * @param existing the batch's pairs that are in the table.
 */
export function settlePairs<Row>(
  actions: readonly PairAction<Row>[],
  existing: ReadonlyMap<string, Row>,
): Settlement<Row> {
  const after = new Map(existing);
  const done = actions.map(({ pair, wanted, row }) => {
    if (!wanted) {
      after.delete(pair);
      return true;
    }
    // A row that was there before comes back as it was; but not where it could not be made anew.
    const there = after.get(pair) ?? (row && (existing.get(pair) ?? row));
    if (there === null) return false;
    after.set(pair, there);
    return true;
  });
  return {
    inserts: [...after].filter(([pair]) => !existing.has(pair)).map(([, row]) => row),
    deletes: [...existing].filter(([pair]) => !after.has(pair)).map(([, row]) => row),
    done,
  };
}
