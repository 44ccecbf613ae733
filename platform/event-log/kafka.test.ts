import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describeWithKafka } from "@flick/dev/testing-kafka.ts";
import { startKafka, type TestServer } from "@flick/dev/testing.ts";

import { createLog } from "../log.ts";
import { eventLogContract } from "./contract.ts";
import type { EventLog, ReceivedEvent } from "./event-log.ts";
import { createKafkaClient } from "./kafka-client.ts";
import { createKafkaEventLog } from "./kafka.ts";
import { until } from "./testing.ts";
import { deadLetterTopic } from "./topics.ts";

setDefaultTimeout(60_000);

const sessionTimeoutMs = 2_000;

await describeWithKafka("The Kafka driver", () => {
  let dir: string;
  let server: TestServer;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-kafka-"));
    server = await startKafka({ dir });
  });
  afterAll(async () => {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  });

  eventLogContract("Kafka", async () => ({
    driver: {
      module: join(import.meta.dir, "kafka.ts"),
      factory: "createKafkaEventLog",
      options: { connection: { brokers: [server.url] }, sessionTimeoutMs, publishTimeoutMs: 5_000 },
    },
    takeOverMs: sessionTimeoutMs,
    patience: { sessionTimeoutMs: 25_000 },
    stop: () => server.kill(),
    start: () => server.start(),
    remove: () => Promise.resolve(),
  }));

  const opened: EventLog[] = [];
  const members: Bun.Subprocess[] = [];
  afterEach(async () => {
    for (const member of members.splice(0)) member.kill("SIGKILL");
    await Promise.all(opened.splice(0).map((log) => log.close()));
  });

  /** A log, what it logged, and a topic of its own. */
  async function open(partitions = 4) {
    const eventLog = openLog();
    const topic = `faults.${crypto.randomUUID()}`;
    await eventLog.createTopics([
      { name: topic, partitions },
      { name: deadLetterTopic(topic), partitions: 1 },
    ]);
    return { eventLog, topic };
  }

  function openLog(lines: { level: string; message: string }[] = []): EventLog {
    const write = (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]);
    const log = createLog({ program: "test", write });
    const eventLog = createKafkaEventLog({ connection: { brokers: [server.url] }, log, sessionTimeoutMs });
    opened.push(eventLog);
    return eventLog;
  }

  /** A member in a process of its own, that prints what becomes of each record; a handler takes so long, or until its signal aborts. */
  function startMember(topic: string, workMs: number) {
    const script = `
      import { createKafkaEventLog } from ${JSON.stringify(join(import.meta.dir, "kafka.ts"))};
      const log = { debug() {}, info() {}, warn() {}, error() {} };
      const connection = { brokers: [${JSON.stringify(server.url)}] };
      const eventLog = createKafkaEventLog({ connection, log, sessionTimeoutMs: ${sessionTimeoutMs} });
      await eventLog.subscribe({
        group: "g",
        topics: [${JSON.stringify(topic)}],
        concurrency: 4,
        handler: async ({ value }, signal) => {
          console.write("began " + value + "\\n");
          for (let ms = 0; ms < ${workMs} && !signal.aborted; ms += 10) await Bun.sleep(10);
          console.write((signal.aborted ? "aborted " : "ended ") + value + "\\n");
          signal.throwIfAborted();
        },
      });`;
    const member = Bun.spawn([process.execPath, "--no-orphans", "-e", script], { stdout: "pipe", stderr: "inherit" });
    members.push(member);
    const lines: string[] = [];
    void (async () => {
      let rest = "";
      for await (const chunk of member.stdout.pipeThrough(new TextDecoderStream())) {
        const parts = (rest + chunk).split("\n");
        rest = parts.pop() ?? "";
        lines.push(...parts);
      }
    })();
    return { member, lines };
  }

  test("gives all that a killed member has not finished to another, and counts what it had begun", async () => {
    const { eventLog, topic } = await open(2);
    await eventLog.publish(Array.from({ length: 40 }, (_, i) => ({ topic, key: `k${i}`, value: `${i}` })));
    const { member, lines } = startMember(topic, 60_000);
    await until(() => lines.length === 4, "four handlers at work", 20_000);
    member.kill("SIGKILL");
    const seen = new Map<string, number>();
    const handler = async ({ value, attempt }: ReceivedEvent) => void seen.set(value, attempt);
    await eventLog.subscribe({ group: "g", topics: [topic], handler });
    await until(() => seen.size === 40, "all records", sessionTimeoutMs + 20_000);
    const begun = lines.map((line) => line.slice("began ".length));
    expect(begun.map((value) => seen.get(value))).toEqual([2, 2, 2, 2]);
    // At most twice as many as handlers may run had been taken.
    expect([...seen.values()].filter((attempt) => attempt > 1).length).toBeLessThanOrEqual(8);
  });

  test("does not disturb a handler at work when another member joins, and shares the rest with it", async () => {
    const { eventLog, topic } = await open(4);
    const gate = Promise.withResolvers<void>();
    const began: string[] = [];
    let aborted = false;
    const handler = async ({ value }: ReceivedEvent, signal: AbortSignal) => {
      began.push(value);
      signal.addEventListener("abort", () => (aborted = true));
      if (value === "long") await gate.promise;
    };
    const work = { group: "g", topics: [topic], handler };
    await eventLog.subscribe(work);
    await eventLog.publish([{ topic, key: "long", value: "long" }]);
    await until(() => began.length === 1, "the first record");
    const other = openLog();
    const elsewhere: string[] = [];
    const { close } = await other.subscribe({ ...work, handler: async ({ value }) => void elsewhere.push(value) });
    for (let i = 0; elsewhere.length === 0; i++) {
      await eventLog.publish([{ topic, key: `k${i}`, value: "short" }]);
      await Bun.sleep(20);
    }
    await close();
    gate.resolve();
    await until(async () => (await eventLog.lag(topic, "g")) === 0, "no lag");
    expect(aborted).toBe(false);
    expect([...began, ...elsewhere].filter((value) => value === "long")).toHaveLength(1);
  });

  test("tells a member's handlers to stop when it was away for so long that others have their records", async () => {
    const { eventLog, topic } = await open(1);
    await eventLog.publish([{ topic, key: "k", value: "job" }]);
    const { member, lines } = startMember(topic, 30_000);
    await until(() => lines.length === 1, "the handler at work", 20_000);
    member.kill("SIGSTOP");
    const seen: ReceivedEvent[] = [];
    await eventLog.subscribe({ group: "g", topics: [topic], handler: async (event) => void seen.push(event) });
    await until(() => seen.length === 1, "the record at the other member", sessionTimeoutMs + 20_000);
    member.kill("SIGCONT");
    await until(() => lines.length === 2, "the aborted handler", 20_000);
    expect(lines).toEqual(["began job", "aborted job"]);
    await until(async () => (await eventLog.lag(topic, "g")) === 0, "no lag");
    expect(seen.map(({ attempt }) => attempt)).toEqual([2]);
  });

  test("remembers attempts and waits across members, and does not count what was given back", async () => {
    const { eventLog, topic } = await open(1);
    await eventLog.publish(["fails", "hangs", "waits its turn"].map((value) => ({ topic, key: value, value })));
    const failed = Promise.withResolvers<number>();
    const handler = async ({ value }: ReceivedEvent) => {
      if (value === "fails") throw new Error("not now");
      await Bun.sleep(20_000);
    };
    const retryDelaysMs = [700];
    const onError = () => failed.resolve(Date.now());
    const options = { group: "g", topics: [topic], concurrency: 2, retryDelaysMs };
    const subscription = await eventLog.subscribe({ ...options, handler, onError });
    const failedAt = await failed.promise;
    await subscription.close(0);
    const seen: string[] = [];
    const again = async ({ value, attempt }: ReceivedEvent) => void seen.push(`${value}: ${attempt}`);
    await openLog().subscribe({ ...options, handler: again });
    await until(() => seen.length === 3, "three records");
    expect(seen).toEqual(["hangs: 1", "waits its turn: 1", "fails: 2"]);
    expect(Date.now() - failedAt).toBeGreaterThanOrEqual(690);
  });

  test("names a topic that is missing, and the command that creates it", async () => {
    const eventLog = openLog();
    const missing = /no topic not\.there.*bun run events topics/;
    const handler = () => Promise.resolve();
    await expect(eventLog.publish([{ topic: "not.there", key: "k", value: "v" }])).rejects.toThrow(missing);
    await expect(eventLog.subscribe({ group: "g", topics: ["not.there"], handler })).rejects.toThrow(missing);
    await expect(eventLog.checkTopics(["not.there"])).rejects.toThrow(missing);
    await expect(eventLog.lag("not.there", "g")).rejects.toThrow(missing);
  });

  test("says what was deleted before a group had read it", async () => {
    const { eventLog, topic } = await open(1);
    const lines: { level: string; message: string }[] = [];
    const reader = openLog(lines);
    const seen: ReceivedEvent[] = [];
    const work = { group: "g", topics: [topic], handler: async (event: ReceivedEvent) => void seen.push(event) };
    await eventLog.publish(["a", "b"].map((value) => ({ topic, key: "k", value })));
    const subscription = await reader.subscribe(work);
    await until(() => seen.length === 2, "both records");
    await subscription.close();
    await eventLog.publish(["c", "d", "e"].map((value) => ({ topic, key: "k", value })));
    const admin = createKafkaClient({ brokers: [server.url] }, createLog({ program: "test", write() {} })).admin();
    await admin.connect();
    await admin.fetchTopicMetadata({ topics: [topic] });
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "4" }] });
    await admin.disconnect();
    await reader.subscribe(work);
    await until(() => seen.length === 3, "the record that is left");
    await until(() => lines.some(({ level }) => level === "error"), "the error in the log");
    expect(seen.map(({ value }) => value)).toEqual(["a", "b", "e"]);
    expect(lines.filter(({ level }) => level === "error")).toEqual([
      expect.objectContaining({ message: expect.stringMatching(/deleted before the group|place that a group/), topic }),
    ]);
  });

  test("reads a topic that ends before the place that a group had reached from its beginning, and says so", async () => {
    const { eventLog, topic } = await open(1);
    await eventLog.publish(["a", "b", "c"].map((value) => ({ topic, key: "k", value })));
    const admin = createKafkaClient({ brokers: [server.url] }, createLog({ program: "test", write() {} })).admin();
    await admin.connect();
    const group = crypto.randomUUID();
    await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: "50" }] });
    await admin.disconnect();
    const lines: { level: string; message: string }[] = [];
    const seen: string[] = [];
    const handler = async ({ value }: ReceivedEvent) => void seen.push(value);
    await openLog(lines).subscribe({ group, topics: [topic], handler });
    await until(() => seen.length === 3, "three records");
    expect(seen).toEqual(["a", "b", "c"]);
    expect(lines.filter(({ level }) => level === "error")).toEqual([
      expect.objectContaining({ message: expect.stringContaining("the place that"), topic, group }),
    ]);
    await until(async () => (await eventLog.lag(topic, group)) === 0, "no lag");
  });

  test("appends nothing to the last record's topic when another one's records are refused", async () => {
    const { eventLog, topic } = await open(1);
    const narrow = `${topic}.narrow`;
    const admin = createKafkaClient({ brokers: [server.url] }, createLog({ program: "test", write() {} })).admin();
    await admin.connect();
    const configEntries = [{ name: "max.message.bytes", value: "1000" }];
    await admin.createTopics({ topics: [{ topic: narrow, numPartitions: 1, configEntries }] });
    await admin.disconnect();
    const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(10_000))).toString("base64");
    const records = [
      { topic, key: "k", value: "before" },
      { topic: narrow, key: "k", value: noise },
      { topic, key: "k", value: "position" },
    ];
    await expect(eventLog.publish(records)).rejects.toThrow("larger than");
    expect(await eventLog.last(topic)).toBeNull();
    await eventLog.publish(records.slice(2));
    expect(await eventLog.last(topic)).toMatchObject({ value: "position" });
  });

  test("refuses a topic with too few partitions, and creates what is missing once", async () => {
    const { eventLog, topic } = await open(2);
    await expect(eventLog.createTopics([{ name: topic, partitions: 3 }])).rejects.toThrow(
      `Topic ${topic} has 2 partitions, and 3 are wanted`,
    );
    const more = { name: `${topic}.more`, partitions: 2 };
    expect(await eventLog.createTopics([{ name: topic, partitions: 2 }, more])).toEqual([more.name]);
    expect(await eventLog.createTopics([more])).toEqual([]);
  });
});
