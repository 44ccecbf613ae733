import { expect } from "bun:test";

import type { ContractTest } from "./contract-test.ts";
import type { ReceivedEvent, SubscribeOptions } from "./event-log.ts";
import { record, until } from "./testing.ts";

/** What becomes of records whose handler fails. */
export function failureContract(it: ContractTest): void {
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
}
