import { expect } from "bun:test";
import { join } from "node:path";

import { openEventLog, type MemberOrders } from "./contract-member.ts";
import type { ContractTest } from "./contract-test.ts";
import type { EventRecord } from "./event-log.ts";
import { collect, record, until } from "./testing.ts";

/** What is left when a member is killed, and when the broker is away. */
export function outageContract(it: ContractTest): void {
  it("delivers the records of a killed member to another one", async (log, topic, broker) => {
    await log.publish([record(topic, "a", "1"), record(topic, "b", "2")]);
    const { taken, kill } = await startMember({ driver: broker.driver, topic, group: "g" });
    try {
      await until(() => taken.length === 2, "both records at the member");
      expect(taken.toSorted()).toEqual(["a", "b"]);
    } finally {
      await kill();
    }
    const seen = await collect(log, { group: "g", topics: [topic] });
    await until(() => seen.length >= 2, "both records", broker.takeOverMs + 10_000);
    expect(seen.map(({ value, attempt }) => `${value} ${attempt}`).toSorted()).toEqual(["a 2", "b 2"]);
  });

  it(
    "gives what a killed process had at once to the next process of its name, and takes nothing from another",
    async (log, topic, broker) => {
      const { driver, patience } = broker;
      const named = (processName: string) => ({ ...driver, options: { ...driver.options, ...patience, processName } });
      // Of its own: no other test joins it.
      const group = "named";
      const [other, killed] = await Promise.all([
        startMember({ driver: named("two"), topic, group, workMs: 0 }),
        startMember({ driver: named("one"), topic, group }),
      ]);
      const next = await openEventLog(named("one"));
      let sent = 0;
      const send = () => log.publish([0, 1, 2, 3].map(() => record(topic, `${++sent}`, `key ${sent}`)));
      try {
        const bothWork = async () => (await send(), killed.taken.length > 0 && other.taken.length > 0);
        await until(bothWork, "both members at work", 20_000);
        await killed.kill();
        const seen = await collect(next, { group, topics: [topic] });
        await until(async () => (await log.lag(topic, group)) === 0, "no lag", 20_000);
        const attempts = new Map(seen.map(({ value, attempt }) => [value, attempt]));
        expect(killed.taken.map((value) => attempts.get(value))).toEqual(killed.taken.map(() => 2));
        const before = other.taken.length;
        const otherWorks = async () => (await send(), other.taken.length > before);
        await until(otherWorks, "another record at the other member", 20_000);
      } finally {
        await Promise.all([other.kill(), killed.kill(), next.close()]);
      }
    },
    { timeoutMs: 90_000, partitions: 2 },
  );

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

/** A member in a process of its own that has joined, and the values of the records that it has begun with. */
async function startMember(orders: MemberOrders): Promise<{ taken: string[]; kill(): Promise<void> }> {
  const member = Bun.spawn(
    [process.execPath, "--no-orphans", join(import.meta.dir, "contract-member.ts"), JSON.stringify(orders)],
    { stdout: "pipe", stderr: "inherit" },
  );
  const joined = Promise.withResolvers<void>();
  const taken: string[] = [];
  const reading = (async () => {
    let rest = "";
    for await (const chunk of member.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      if (parts.includes("joined")) joined.resolve();
      taken.push(...parts.filter((line) => line !== "joined"));
    }
    joined.reject(new Error("the member ended before it had joined"));
  })();
  await joined.promise;
  return {
    taken,
    async kill() {
      member.kill("SIGKILL");
      await Promise.all([member.exited, reading]);
    },
  };
}
