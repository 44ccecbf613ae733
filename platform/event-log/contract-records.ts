import { expect } from "bun:test";

import type { ContractTest } from "./contract-test.ts";
import { limits } from "./limits.ts";
import { collect, record, until } from "./testing.ts";

/** What a record may be, and where it is found again. */
export function recordContract(it: ContractTest): void {
  it(
    "names the limit when a record is too large, and publishes nothing of that call",
    async (log, topic) => {
      const good = record(topic, "a");
      await expect(log.publish([good, record(topic, "é".repeat(limits.valueBytes / 2 + 1))])).rejects.toThrow(
        `value of ${limits.valueBytes + 2} bytes; the limit is ${limits.valueBytes}`,
      );
      await expect(log.publish([good, record(topic, "v", "k".repeat(256))])).rejects.toThrow("limit is 255");
      await expect(log.publish([good, record("not a topic", "v")])).rejects.toThrow("topic");
      await expect(log.publish(Array(limits.records + 1).fill(good))).rejects.toThrow(`${limits.records} records`);
      const large = record(topic, "x".repeat(limits.valueBytes));
      await expect(log.publish(Array(33).fill(large))).rejects.toThrow(`${limits.batchBytes} bytes`);
      expect(await log.last(topic)).toBeNull();
    },
    inOnePartition,
  );

  it("carries every character and the largest record", async (log, topic) => {
    const values = ["", "\0 \n 🎬👩‍👩‍👧 你好 é", "x".repeat(limits.valueBytes)];
    const seen = await collect(log, { group: "g", topics: [topic] });
    await log.publish(values.map((value) => record(topic, value, value.slice(0, 9))));
    await until(() => seen.length === 3, "the records");
    expect(seen.map(({ value }) => value).toSorted()).toEqual(values.toSorted());
    expect(seen.every(({ key, value }) => key === value.slice(0, 9))).toBe(true);
  });

  it(
    "tells the newest record of a topic",
    async (log, topic) => {
      await log.createTopics([{ name: `${topic}.2`, partitions: 1 }]);
      expect(await log.last(topic)).toBeNull();
      await log.publish([record(topic, "a"), record(`${topic}.2`, "other"), record(topic, "b", "key b")]);
      expect(await log.last(topic)).toMatchObject({ topic, key: "key b", value: "b", attempt: 1 });
    },
    inOnePartition,
  );
}

const inOnePartition = { partitions: 1 };
