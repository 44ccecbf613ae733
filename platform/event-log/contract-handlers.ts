import { expect } from "bun:test";

import { openEventLog } from "./contract-member.ts";
import type { ContractTest } from "./contract-test.ts";
import type { ReceivedEvent, SubscribeOptions } from "./event-log.ts";
import { collect, record, until } from "./testing.ts";

/** How many handlers run at once, and how they end. */
export function handlerContract(it: ContractTest): void {
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

  it("aborts handlers that outlast the drain time, and gives their records to another member", async (log, topic, broker) => {
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
    async (log, topic, broker) => {
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
}
