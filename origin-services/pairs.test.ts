import { expect, test } from "bun:test";

import * as fc from "fast-check";

import { settlePairs, type PairAction } from "./pairs.ts";

interface Row {
  pair: string;
}

/** Few pairs, so that a batch holds several actions on each. */
const pairs = ["a", "b", "c", "d"];

/** A pair of which no row can be made can have none for any action of the batch: its video is gone for all of them. */
const batches = fc.record({
  existing: fc.subarray(pairs),
  impossible: fc.subarray(pairs),
  actions: fc.array(fc.record({ pair: fc.constantFrom(...pairs), wanted: fc.boolean() }), { maxLength: 20 }),
});

function rowsOf(names: Iterable<string>): Map<string, Row> {
  return new Map([...names].map((pair) => [pair, { pair }]));
}

/** What a table holds, and each caller is told, when every action is a transaction of its own. */
function oneByOne(actions: readonly PairAction<Row>[], table: Set<string>): boolean[] {
  return actions.map(({ pair, wanted, row }) => {
    if (!wanted) table.delete(pair);
    else if (!table.has(pair) && row === null) return false;
    else table.add(pair);
    return true;
  });
}

test("a batch comes to what its actions come to one by one", () => {
  fc.assert(
    fc.property(batches, ({ existing, impossible, actions }) => {
      const wishes = actions.map(({ pair, wanted }) => ({
        pair,
        wanted,
        row: impossible.includes(pair) ? null : { pair },
      }));
      const expected = new Set(existing);
      const answers = oneByOne(wishes, expected);

      const { inserts, deletes, done } = settlePairs(wishes, rowsOf(existing));
      const table = new Set(existing);
      for (const { pair } of deletes) expect(table.delete(pair)).toBe(true);
      for (const { pair } of inserts) {
        expect(table.has(pair)).toBe(false);
        table.add(pair);
      }
      expect([...table].toSorted()).toEqual([...expected].toSorted());
      expect(done).toEqual(answers);
    }),
    { numRuns: 2_000 },
  );
});

test("what already holds is not written again", () => {
  const row = { pair: "a" };
  expect(settlePairs([{ pair: "a", wanted: true, row }], rowsOf(["a"]))).toEqual({
    inserts: [],
    deletes: [],
    done: [true],
  });
  expect(settlePairs([{ pair: "a", wanted: false, row }], new Map())).toEqual({
    inserts: [],
    deletes: [],
    done: [true],
  });
});

test("rows are inserted in the order in which they were last asked for", () => {
  const action = (pair: string, wanted: boolean) => ({ pair, wanted, row: { pair } });
  const actions = [action("a", true), action("b", true), action("a", false), action("a", true)];
  expect(settlePairs(actions, new Map()).inserts).toEqual([{ pair: "b" }, { pair: "a" }]);
});
