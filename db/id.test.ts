import { expect, test } from "bun:test";

import { createIdGenerator, firstIdAt, idEpoch } from "./id.ts";

test("ids strictly increase, also many in one millisecond and over a clock that steps back", () => {
  let time = idEpoch + 1000;
  const newId = createIdGenerator(3, () => time);
  let last = 0;
  for (let made = 0; made < 10_000; made++) {
    if (made % 1000 === 999) time += made % 2000 === 999 ? -500 : 600;
    const id = newId();
    expect(id).toBeGreaterThan(last);
    last = id;
  }
});

test("ids of different nodes differ in the same millisecond", () => {
  const ids = Array.from({ length: 32 }, (_, node) => createIdGenerator(node, () => idEpoch + 5)).map((newId) =>
    newId(),
  );
  expect(new Set(ids).size).toBe(32);
});

test("ids fit 53 bits until 2093", () => {
  expect(createIdGenerator(31, () => Date.UTC(2093, 0))()).toBeLessThanOrEqual(Number.MAX_SAFE_INTEGER);
});

test("the first id of a time stands before all ids of that time and after those of earlier ones", () => {
  const time = Date.UTC(2026, 10, 22);
  expect(firstIdAt(time)).toBeLessThanOrEqual(createIdGenerator(0, () => time)());
  expect(firstIdAt(time)).toBeGreaterThan(createIdGenerator(31, () => time - 1)());
  expect(firstIdAt(0)).toBe(0);
});

test.each([-1, 32, 1.5, Number.NaN])("node %d is refused", (node) => {
  expect(() => createIdGenerator(node)).toThrow("node must be a whole number from 0 to 31");
});
