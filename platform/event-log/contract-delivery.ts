import { expect } from "bun:test";

import type { ContractTest } from "./contract-test.ts";
import type { EventRecord, ReceivedEvent } from "./event-log.ts";
import { collect, record, until } from "./testing.ts";

/** What reaches which member, and when it counts as done. */
export function deliveryContract(it: ContractTest): void {
  it("keeps the order of records with the same key", async (log, topic) => {
    const published = Array.from({ length: 300 }, (_, i) => record(topic, `${i}`, `key ${i % 3}`));
    for (let i = 0; i < published.length; i += 50) await log.publish(published.slice(i, i + 50));
    const seen: ReceivedEvent[] = [];
    const handler = async (event: ReceivedEvent) => {
      await Bun.sleep(Math.random() * 4);
      seen.push(event);
    };
    await log.subscribe({ group: "g", topics: [topic], handler });
    await until(() => seen.length >= published.length, "all records");
    for (const key of ["key 0", "key 1", "key 2"]) {
      const values = (events: EventRecord[]) => events.filter((event) => event.key === key).map(({ value }) => value);
      expect(values(seen)).toEqual(values(published));
    }
  });

  it("delivers to every group on its own, from the oldest record on", async (log, topic) => {
    await log.publish([record(topic, "before")]);
    const first = await collect(log, { group: "one", topics: [topic] });
    await until(() => first.length === 1, "the first group's record");
    await log.publish([record(topic, "after")]);
    const second = await collect(log, { group: "two", topics: [topic] });
    await until(() => first.length === 2 && second.length === 2, "both groups' records");
    expect(second.map(({ value }) => value).toSorted()).toEqual(["after", "before"]);
  });

  it("shares the records of a topic among the members of a group", async (log, topic) => {
    const work = { group: "g", topics: [topic], concurrency: 2 };
    const members = await Promise.all([collect(log, work, 5), collect(log, work, 5)]);
    await log.publish(Array.from({ length: 100 }, (_, i) => record(topic, `${i}`, `${i}`)));
    await until(() => members[0].length + members[1].length >= 100, "all records");
    await Bun.sleep(200);
    const values = members.flat().map(({ value }) => value);
    expect(new Set(values).size).toBe(100);
    expect(values).toHaveLength(100);
  });

  it("acknowledges a record only after its handler succeeded", async (log, topic) => {
    const gate = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    const handler = async () => {
      started.resolve();
      await gate.promise;
    };
    await log.subscribe({ group: "g", topics: [topic], handler });
    await log.publish([record(topic, "a")]);
    await started.promise;
    expect(await log.lag(topic, "g")).toBe(1);
    gate.resolve();
    await until(async () => (await log.lag(topic, "g")) === 0, "the acknowledgement");
  });

  it("counts as lag what a group has not acknowledged, whether it exists or not", async (log, topic) => {
    expect(await log.lag(topic, "g")).toBe(0);
    await log.publish([record(topic, "a"), record(topic, "b")]);
    expect(await log.lag(topic, "g")).toBe(2);
    const seen = await collect(log, { group: "g", topics: [topic] });
    await until(async () => seen.length === 2 && (await log.lag(topic, "g")) === 0, "no lag");
    expect(await log.lag(topic, "other")).toBe(2);
    expect(await log.groups(topic)).toEqual(["g"]);
  });
}
