import { expect } from "bun:test";
import { join } from "node:path";

import type { MemberOrders } from "./contract-member.ts";
import type { ContractTest } from "./contract-test.ts";
import type { EventRecord } from "./event-log.ts";
import { collect, record, until } from "./testing.ts";

/** What is left when a member is killed, and when the broker is away. */
export function outageContract(it: ContractTest): void {
  it("delivers the records of a killed member to another one", async (log, topic, broker) => {
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

  it(
    "comes through a broker that is away for three seconds: nothing is lost, and each key keeps its order",
    async (log, topic, broker) => {
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
