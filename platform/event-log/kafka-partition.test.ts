import { expect, test } from "bun:test";

import { createHeldPartition, type Held, type HeldPartition } from "./kafka-partition.ts";
import { decodeProgress, maxDistance, maxRuns } from "./kafka-progress.ts";

test("records in a row are taken as far as the distance allows, and those behind wait for the first", () => {
  const { partition, records } = filled(maxDistance + 10);
  const taken = records.filter((record) => partition.take(record));
  expect(taken).toHaveLength(maxDistance);
  expect(partition.progress()?.metadata.length).toBeLessThan(50);
  for (const record of taken) if (record.offset < 100 + 5) partition.settle(record);
  expect(partition.progress()?.offset).toBe(105);
  expect(records.slice(maxDistance).filter((record) => partition.take(record))).toHaveLength(5);
});

test("no more is taken than what can be written down, however scattered it is", () => {
  const { partition, records } = filled(maxDistance);
  const taken = records.filter((record, i) => i % 2 === 0 && partition.take(record));
  expect(taken.length).toBeGreaterThanOrEqual(maxRuns);
  expect(taken.length).toBeLessThan(maxRuns + 3);
  for (const record of taken.slice(1)) partition.defer(record);
  const { metadata = "" } = partition.progress() ?? {};
  expect(metadata.length).toBeLessThan(4_096);
  expect([...decodeProgress(100, metadata).marks].map(([offset]) => offset)).toEqual(taken.map(({ offset }) => offset));
  const [, second, third] = taken;
  if (!second || !third) throw new Error("too few were taken");
  partition.settle(second);
  partition.settle(third);
  const others = records.filter(({ state }) => state === "ready");
  expect(others.filter((record) => partition.take(record)).length).toBeGreaterThan(0);
});

test("what was left by the members before is passed on until its records have come", () => {
  const partition = createHeldPartition("t", 0);
  partition.next = 100;
  partition.inherited = decodeProgress(100, "1|Ag==|0-1.2,2-1.1w");
  expect(partition.progress()).toEqual({ offset: 100, metadata: "1|Ag==|0-1.2,2-1.1w" });
  const [first] = add(partition, 100, 1, { attempts: 2 });
  expect(partition.progress()).toEqual({ offset: 100, metadata: "1|Ag==|0-1.2,2-1.1w" });
  if (first) partition.settle(first);
  expect(partition.progress()).toEqual({ offset: 101, metadata: "1|AQ==|1-1.1w" });
});

test("an attempt that was given back leaves no trace", () => {
  const { partition, records } = filled(3);
  for (const record of records) partition.take(record);
  for (const record of records) partition.untake(record);
  expect(partition.progress()).toEqual({ offset: 100, metadata: "" });
});

function filled(count: number): { partition: HeldPartition; records: Held[] } {
  const partition = createHeldPartition("t", 0);
  return { partition, records: add(partition, 100, count) };
}

function add(partition: HeldPartition, from: number, count: number, some: Partial<Held> = {}): Held[] {
  return Array.from({ length: count }, (_, i) => {
    const event = { topic: "t", key: `${i}`, value: "", id: `0:${from + i}`, attempt: 0 };
    const held: Held = { partition, offset: from + i, event, bytes: 1, attempts: 0, state: "ready", ...some };
    partition.add(held);
    partition.next = from + i + 1;
    return held;
  });
}
