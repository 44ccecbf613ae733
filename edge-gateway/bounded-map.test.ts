import { expect, test } from "bun:test";

import { createBoundedMap } from "./bounded-map.ts";

test("never holds more than it may, and forgets what came first", () => {
  const map = createBoundedMap<number, number>(3);
  for (let i = 0; i < 1_000; i++) map.set(i, i);
  expect([...map.keys()]).toEqual([997, 998, 999]);
});

test("forgets nothing when a value changes", () => {
  const map = createBoundedMap<string, number>(2);
  map.set("a", 1).set("b", 2).set("b", 3);
  expect([...map]).toEqual([
    ["a", 1],
    ["b", 3],
  ]);
});
