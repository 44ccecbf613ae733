import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { openEventLog, type DriverSpec, type MemberOrders } from "./contract-member.ts";
import type { EventLog, EventRecord, ReceivedEvent, SubscribeOptions } from "./event-log.ts";
import { limits } from "./limits.ts";
import { deadLetterTopic } from "./topics.ts";

/** A broker of the suite's own, and how to open its log. */
export interface ContractBroker {
  driver: DriverSpec;
  /** Longest time, in milliseconds, until the records of a killed member are delivered to another. */
  takeOverMs: number;
  /** Stops the broker, or kills it; `start` brings it back with its data under the same address. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it for good and removes its files. */
  remove(): Promise<void>;
}

/** The suite that every driver of {@link EventLog} must pass. */
export function eventLogContract(name: string, startBroker: () => Promise<ContractBroker>): void {
  describe(`${name} as an event log`, () => {
    let broker: ContractBroker;
    beforeAll(async () => {
      broker = await startBroker();
    }, 60_000);
    afterAll(() => broker.remove());

    /** A test with a log and a topic of its own, which has several partitions where there are such. */
    const it = (
      sentence: string,
      body: (log: EventLog, topic: string) => Promise<void>,
      { timeoutMs = 30_000, partitions = 4 } = {},
    ) =>
      test(
        sentence,
        async () => {
          const log = await openEventLog(broker.driver);
          const topic = `contract.${crypto.randomUUID()}`;
          try {
            await log.createTopics([
              { name: topic, partitions },
              { name: deadLetterTopic(topic), partitions: 1 },
            ]);
            await body(log, topic);
          } finally {
            await log.close();
          }
        },
        timeoutMs,
      );

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

    it("delivers the records of a killed member to another one", async (log, topic) => {
      await log.publish([record(topic, "a", "1"), record(topic, "b", "2")]);
      const orders: MemberOrders = { driver: broker.driver, topic, group: "g" };
      const member = Bun.spawn(
        [process.execPath, "--no-orphans", join(import.meta.dir, "contract-member.ts"), JSON.stringify(orders)],
        { stdout: "pipe", stderr: "inherit" },
      );
      try {
        const taken = await linesOf(member.stdout, 2);
        expect(taken.toSorted()).toEqual(["a", "b"]);
      } finally {
        member.kill("SIGKILL");
        await member.exited;
      }
      const seen = await collect(log, { group: "g", topics: [topic] });
      await until(() => seen.length >= 2, "both records", broker.takeOverMs + 10_000);
      expect(seen.map(({ value, attempt }) => `${value} ${attempt}`).toSorted()).toEqual(["a 2", "b 2"]);
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

    it("repeats a failed delivery after each of the waits", async (log, topic) => {
      const attempts: { attempt: number; at: number }[] = [];
      const handler = async ({ attempt }: ReceivedEvent) => {
        attempts.push({ attempt, at: Date.now() });
        if (attempt < 3) throw new Error("not yet");
      };
      const errors: string[] = [];
      const onError: SubscribeOptions["onError"] = (event, _error, outcome) => {
        errors.push(`${event.attempt} ${outcome}`);
      };
      await log.subscribe({ group: "g", topics: [topic], handler, onError, retryDelaysMs: [300, 900] });
      await log.publish([record(topic, "a")]);
      await until(() => attempts.length === 3, "three attempts");
      await until(async () => (await log.lag(topic, "g")) === 0, "the acknowledgement");
      expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
      const [first, second, third] = attempts.map(({ at }) => at) as [number, number, number];
      expect(second - first).toBeGreaterThanOrEqual(290);
      expect(third - second).toBeGreaterThanOrEqual(890);
      expect(errors).toEqual(["1 retry", "2 retry"]);
    });

    it("makes a dead letter of a record whose attempts are used up, and replays it", async (log, topic) => {
      let broken = true;
      const seen: ReceivedEvent[] = [];
      const outcomes: string[] = [];
      const handler = async (event: ReceivedEvent) => {
        seen.push(event);
        if (broken) throw new Error(`no room for ${event.value} 🎬`);
      };
      const onError: SubscribeOptions["onError"] = (_event, _error, outcome) => void outcomes.push(outcome);
      await log.subscribe({ group: "g", topics: [topic], handler, onError, retryDelaysMs: [50] });
      const before = Date.now();
      await log.publish([record(topic, "a", "key a")]);
      await until(async () => (await log.deadLetters(topic, 10)).length === 1, "the dead letter");
      const [letter] = await log.deadLetters(topic, 10);
      expect(letter).toMatchObject({ topic, key: "key a", value: "a", group: "g", attempts: 2 });
      expect(letter?.reason).toBe("no room for a 🎬");
      expect(letter?.origin).toBe(seen[0]?.id ?? "");
      expect(letter?.failedAt).toBeGreaterThanOrEqual(before - 1_000);
      expect(letter?.failedAt).toBeLessThanOrEqual(Date.now() + 1_000);
      expect(outcomes).toEqual(["retry", "dead letter"]);
      expect(await log.lag(topic, "g")).toBe(0);

      broken = false;
      expect(await log.replay(topic, 10)).toBe(1);
      await until(() => seen.length === 3, "the replayed record");
      expect(seen[2]).toMatchObject({ key: "key a", value: "a", attempt: 1 });
      expect(await log.deadLetters(topic, 10)).toEqual([]);
      expect(await log.replay(topic, 10)).toBe(0);
    });

    it("lists and replays the oldest dead letters first, as many as asked for", async (log, topic) => {
      const handler = async ({ value }: ReceivedEvent) => {
        throw new Error(value);
      };
      const subscription = await log.subscribe({
        group: "g",
        topics: [topic],
        handler,
        concurrency: 1,
        retryDelaysMs: [],
        onError() {},
      });
      await log.publish(["a", "b", "c"].map((value) => record(topic, value)));
      await until(async () => (await log.deadLetters(topic, 10)).length === 3, "the dead letters");
      await subscription.close();
      expect((await log.deadLetters(topic, 2)).map(({ reason }) => reason)).toEqual(["a", "b"]);
      expect(await log.replay(topic, 2)).toBe(2);
      expect((await log.deadLetters(topic, 10)).map(({ reason }) => reason)).toEqual(["c"]);
    });

    it("does not let a record that waits for its next attempt hold up others", async (log, topic) => {
      const seen: string[] = [];
      const handler = async ({ value }: ReceivedEvent) => {
        if (value.startsWith("poison")) throw new Error("poison");
        seen.push(value);
      };
      const options = { group: "g", topics: [topic], handler, concurrency: 2, retryDelaysMs: [60_000], onError() {} };
      await log.subscribe(options);
      const poison = Array.from({ length: 50 }, (_, i) => record(topic, `poison ${i}`, "k"));
      await log.publish([...poison, ...["a", "b", "c"].map((value) => record(topic, value, "k"))]);
      await until(() => seen.length === 3, "the sound records");
      expect(seen).toEqual(["a", "b", "c"]);
    });

    it("keeps to the number of handlers, and never runs two for one key", async (log, topic) => {
      let now = 0;
      let most = 0;
      let done = 0;
      const keys = new Set<string>();
      const handler = async ({ key }: ReceivedEvent) => {
        expect(keys.has(key)).toBe(false);
        keys.add(key);
        most = Math.max(most, ++now);
        await Bun.sleep(10);
        now--;
        done++;
        keys.delete(key);
      };
      const failures: unknown[] = [];
      const onError: SubscribeOptions["onError"] = (_event, error) => void failures.push(error);
      await log.publish(Array.from({ length: 120 }, (_, i) => record(topic, `${i}`, `${i % 40}`)));
      await log.subscribe({ group: "g", topics: [topic], handler, onError, concurrency: 4 });
      await until(() => done === 120, "all records");
      expect(failures).toEqual([]);
      expect(most).toBe(4);
    });

    it("waits for handlers at work when it closes, and starts no more", async (log, topic) => {
      const started: string[] = [];
      const finished: string[] = [];
      const handler = async ({ value }: ReceivedEvent) => {
        started.push(value);
        await Bun.sleep(500);
        finished.push(value);
      };
      const subscription = await log.subscribe({ group: "g", topics: [topic], handler, concurrency: 1 });
      await log.publish([record(topic, "a", "1"), record(topic, "b", "2")]);
      await until(() => started.length === 1, "the first handler");
      await subscription.close();
      expect(started).toHaveLength(1);
      expect(finished).toEqual(started);
      expect(await log.lag(topic, "g")).toBe(1);
    });

    it("aborts handlers that outlast the drain time, and gives their records to another member", async (log, topic) => {
      const other = await openEventLog(broker.driver);
      try {
        let aborted = false;
        const started = Promise.withResolvers<void>();
        const handler = async (_event: ReceivedEvent, signal: AbortSignal) => {
          signal.addEventListener("abort", () => (aborted = true));
          started.resolve();
          await Bun.sleep(20_000);
        };
        const subscription = await log.subscribe({ group: "g", topics: [topic], handler });
        await log.publish([record(topic, "a")]);
        await started.promise;
        const seen = await collect(other, { group: "g", topics: [topic] });
        const startedAt = Date.now();
        await subscription.close(300);
        expect(aborted).toBe(true);
        expect(Date.now() - startedAt).toBeLessThan(3_000);
        await until(() => seen.length === 1, "the record at the other member");
      } finally {
        await other.close();
      }
    });

    it(
      "does not take a long handler for a dead one",
      async (log, topic) => {
        const other = await openEventLog(broker.driver);
        try {
          let deliveries = 0;
          const handler = async () => {
            deliveries++;
            await Bun.sleep(3 * broker.takeOverMs);
          };
          await log.subscribe({ group: "g", topics: [topic], handler });
          await other.subscribe({ group: "g", topics: [topic], handler });
          await log.publish([record(topic, "a")]);
          await until(async () => deliveries > 0 && (await log.lag(topic, "g")) === 0, "the end", 60_000);
          expect(deliveries).toBe(1);
        } finally {
          await other.close();
        }
      },
      { timeoutMs: 90_000 },
    );

    const inOnePartition = { partitions: 1 };
    const tooLarge = "names the limit when a record is too large, and publishes nothing of that call";
    const namesTheLimit = async (log: EventLog, topic: string) => {
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
    };
    it(tooLarge, namesTheLimit, inOnePartition);

    it("carries every character and the largest record", async (log, topic) => {
      const values = ["", "\0 \n 🎬👩‍👩‍👧 你好 é", "x".repeat(limits.valueBytes)];
      const seen = await collect(log, { group: "g", topics: [topic] });
      await log.publish(values.map((value) => record(topic, value, value.slice(0, 9))));
      await until(() => seen.length === 3, "the records");
      expect(seen.map(({ value }) => value).toSorted()).toEqual(values.toSorted());
      expect(seen.every(({ key, value }) => key === value.slice(0, 9))).toBe(true);
    });

    const tellsTheNewest = async (log: EventLog, topic: string) => {
      await log.createTopics([{ name: `${topic}.2`, partitions: 1 }]);
      expect(await log.last(topic)).toBeNull();
      await log.publish([record(topic, "a"), record(`${topic}.2`, "other"), record(topic, "b", "key b")]);
      expect(await log.last(topic)).toMatchObject({ topic, key: "key b", value: "b", attempt: 1 });
    };
    it("tells the newest record of a topic", tellsTheNewest, inOnePartition);

    it(
      "comes through a broker that is away for three seconds: nothing is lost, and each key keeps its order",
      async (log, topic) => {
        const seen = await collect(log, { group: "g", topics: [topic] });
        const published: EventRecord[] = [];
        const publish = async (value: string) => {
          const records = ["key 0", "key 1", "key 2"].map((key) => record(topic, `${value} ${key}`, key));
          await log.publish(records);
          published.push(...records);
        };
        for (let i = 0; i < 20; i++) await publish(`before ${i}`);
        await broker.stop();
        const stoppedAt = Date.now();
        await expect(publish("while it is away")).rejects.toThrow();
        expect(Date.now() - stoppedAt).toBeLessThan(15_000);
        await Bun.sleep(Math.max(0, 3_000 - (Date.now() - stoppedAt)));
        await broker.start();
        for (let i = 0; i < 20; i++) await publish(`after ${i}`);
        const values = () => new Set(seen.map(({ value }) => value));
        await until(() => published.every(({ value }) => values().has(value)), "all that was published", 20_000);
        for (const key of ["key 0", "key 1", "key 2"]) {
          const of = (events: EventRecord[]) => events.filter((event) => event.key === key).map(({ value }) => value);
          // A record may come again, and one that was refused may be there all the same.
          const first = [...new Set(of(seen))].filter((value) => !value.startsWith("while it is away"));
          expect(first).toEqual(of(published));
        }
        await until(async () => (await log.lag(topic, "g")) === 0, "no lag", 20_000);
      },
      { timeoutMs: 120_000 },
    );
  });
}

function record(topic: string, value: string, key = "k"): EventRecord {
  return { topic, key, value };
}

/** Subscribes with a handler that remembers what it got. */
async function collect(
  log: EventLog,
  options: Omit<SubscribeOptions, "handler">,
  workMs = 0,
): Promise<ReceivedEvent[]> {
  const seen: ReceivedEvent[] = [];
  const handler = async (event: ReceivedEvent) => {
    if (workMs > 0) await Bun.sleep(workMs);
    seen.push(event);
  };
  await log.subscribe({ ...options, handler });
  return seen;
}

async function until(holds: () => boolean | Promise<boolean>, what: string, withinMs = 10_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await Bun.sleep(10);
  }
}

async function linesOf(stream: ReadableStream<Uint8Array>, count: number): Promise<string[]> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    if (text.split("\n").length > count) break;
  }
  return text.split("\n").slice(0, count);
}
