/**
 * The Kafka driver beside bare kafkajs with the same settings, on one private broker, in turns: records published and consumed a
 * second, how long a consumer that was started again takes to its first record, and what an idle one costs.
 *
 *   bun bench/kafka.ts [rounds]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startKafka } from "@flick/dev/testing.ts";
import type { EventLog, EventRecord } from "@flick/platform/event-log/event-log.ts";
import { createKafkaEventLog } from "@flick/platform/event-log/kafka.ts";
import { deadLetterTopic } from "@flick/platform/event-log/topics.ts";
import { createLog } from "@flick/platform/log.ts";
import { CompressionTypes, Kafka, logLevel, type Producer } from "kafkajs";

const rounds = Number(process.argv[2] ?? 3);
const partitions = 12;
const publishedARound = 20_000;
const batch = 500;
const consumedARound = 240_000;
const delayed = 5_000;
const delayedASecond = 500;
const restarts = 5;
const idleMs = 5_000;
const roundMs = 120_000;

const say = (line: string) => void process.stdout.write(`${line}\n`);
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

const dir = await mkdtemp(join(tmpdir(), "flick-bench-kafka-"));
const server = await startKafka({ dir });
const log = createLog({ program: "bench", level: "warn" });
const open = () => createKafkaEventLog({ connection: { brokers: [server.url] }, log, partitions });
const kafka = new Kafka({ clientId: "bench", brokers: [server.url], logLevel: logLevel.NOTHING });
const eventLog = open();
try {
  await publishing();
  await consuming();
  await delays();
  await restarting();
  await idling();
} finally {
  await eventLog.close();
  await server.stop();
  await rm(dir, { recursive: true, force: true });
}

/** About what a changed row is. */
function recordsOf(topic: string, count: number): EventRecord[] {
  return Array.from({ length: count }, (_, i) => {
    const after = { id: 1e15 + i, user_id: (i * 7_919) % 100_000, title: `A title of ${i}`, created_at: 1.7e12 + i };
    return {
      topic,
      key: String(after.id),
      value: JSON.stringify({ before: null, after, op: "c", source: { table: "t", ts_ms: i } }),
    };
  });
}

async function newTopic(): Promise<string> {
  const name = `bench.${crypto.randomUUID()}`;
  await eventLog.createTopics([{ name }, { name: deadLetterTopic(name), partitions: 1 }]);
  return name;
}

async function publishing(): Promise<void> {
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false });
  await producer.connect();
  const topic = await newTopic();
  const records = recordsOf(topic, publishedARound);
  const bare = (some: EventRecord[]) => sendBare(producer, topic, some);
  const ours = (some: EventRecord[]) => eventLog.publish(some);
  for (const send of [bare, ours]) await inBatches(records.slice(0, 2_000), batch, send);
  const rates = { bare: [] as number[], ours: [] as number[] };
  const lone = { bare: [] as number[], ours: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    for (const [name, send] of [
      ["bare", bare],
      ["ours", ours],
    ] as const) {
      rates[name].push(publishedARound / (await seconds(() => inBatches(records, batch, send))));
      const few = records.slice(0, 1_000);
      lone[name].push(few.length / (await seconds(() => inLanes(few, 32, (record) => send([record])))));
    }
  }
  await producer.disconnect();
  report(`publish, calls of ${batch} records one after another`, rates);
  report("publish, 32 callers with one record a call", lone);
}

async function consuming(): Promise<void> {
  const topic = await newTopic();
  await inBatches(recordsOf(topic, consumedARound), 2_000, (some) => eventLog.publish(some));
  const rates = { bare: [] as number[], ours: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    rates.bare.push(await consumeBare(topic));
    rates.ours.push(await consumeOurs(topic));
  }
  report("consume, a handler that does nothing", rates);
}

/** From the first record to the last. */
function meter(): { count: () => void; rate: Promise<number> } {
  const all = Promise.withResolvers<number>();
  let seen = 0;
  let startedAt = 0;
  const late = setTimeout(() => all.reject(new Error(`only ${seen} records within ${roundMs} ms`)), roundMs);
  return {
    count() {
      if (seen++ === 0) startedAt = performance.now();
      if (seen !== consumedARound) return;
      clearTimeout(late);
      all.resolve((consumedARound / (performance.now() - startedAt)) * 1000);
    },
    rate: all.promise,
  };
}

async function consumeBare(topic: string): Promise<number> {
  const { count, rate } = meter();
  const consumer = kafka.consumer({
    groupId: crypto.randomUUID(),
    sessionTimeout: 10_000,
    heartbeatInterval: 2_000,
    maxWaitTimeInMs: 500,
    maxBytes: 4 * 1024 * 1024,
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  // It commits after each batch, and heartbeats after each message.
  await consumer.run({
    partitionsConsumedConcurrently: partitions,
    eachMessage: async ({ message }) => {
      message.value?.toString();
      count();
    },
  });
  try {
    return await rate;
  } finally {
    await consumer.disconnect();
  }
}

async function consumeOurs(topic: string): Promise<number> {
  const { count, rate } = meter();
  const mine = open();
  const handler = () => Promise.resolve(count());
  await mine.subscribe({ group: crypto.randomUUID(), topics: [topic], handler });
  try {
    return await rate;
  } finally {
    await mine.close();
  }
}

/** From the call of publish to the call of the handler, with one record in every call. */
async function delays(): Promise<void> {
  const topic = await newTopic();
  const times: number[] = [];
  const handler = async ({ value }: EventRecord) => void times.push(performance.now() - Number(value));
  const mine = open();
  await mine.subscribe({ group: "delays", topics: [topic], handler });
  const published: Promise<void>[] = [];
  const startedAt = performance.now();
  for (let i = 0; i < delayed; i++) {
    const waitMs = startedAt + i * (1000 / delayedASecond) - performance.now();
    if (waitMs > 0) await Bun.sleep(waitMs);
    published.push(eventLog.publish([{ topic, key: String(i), value: String(performance.now()) }]));
  }
  await Promise.all(published);
  const late = Date.now() + roundMs;
  while (times.length < delayed && Date.now() < late) await Bun.sleep(10);
  await mine.close();
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number) => (sorted[Math.floor(sorted.length * part)] ?? Number.NaN).toFixed(1);
  say(
    `from publish to handler at ${delayedASecond} records a second: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms (${times.length} records)`,
  );
}

async function restarting(): Promise<void> {
  const topic = await newTopic();
  const times: number[] = [];
  let mine: EventLog = open();
  await mine.subscribe({ group: "restart", topics: [topic], handler: () => Promise.resolve() });
  for (let i = 0; i < restarts; i++) {
    const first = Promise.withResolvers<void>();
    const startedAt = performance.now();
    await mine.close();
    await eventLog.publish(recordsOf(topic, 1));
    mine = open();
    await mine.subscribe({ group: "restart", topics: [topic], handler: () => Promise.resolve(first.resolve()) });
    await first.promise;
    times.push(performance.now() - startedAt);
  }
  await mine.close();
  say(
    `consumer stopped, started and at its first record: ${median(times).toFixed(0)} ms (median of ${restarts}, worst ${Math.max(...times).toFixed(0)} ms)`,
  );
}

/** In processes of their own, because our driver mends kafkajs' timer for all of its process. */
async function idling(): Promise<void> {
  const topic = await newTopic();
  const measure = `await Bun.sleep(1_000); const before = process.cpuUsage(); await Bun.sleep(${idleMs});
    const { user, system } = process.cpuUsage(before); console.write(((user + system) / ${idleMs} / 10).toFixed(2)); process.exit(0);`;
  const bare = `import { Kafka } from "kafkajs";
    const consumer = new Kafka({ brokers: [${JSON.stringify(server.url)}], logLevel: 0 }).consumer({ groupId: "idle-bare", maxWaitTimeInMs: 500 });
    await consumer.connect(); await consumer.subscribe({ topics: [${JSON.stringify(topic)}] });
    await consumer.run({ eachMessage: async () => {} }); ${measure}`;
  const ours = `import { createKafkaEventLog } from "@flick/platform/event-log/kafka.ts";
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const eventLog = createKafkaEventLog({ connection: { brokers: [${JSON.stringify(server.url)}] }, log });
    await eventLog.subscribe({ group: "idle-ours", topics: [${JSON.stringify(topic)}], handler: async () => {} }); ${measure}`;
  for (const [name, script] of [
    ["bare kafkajs", bare],
    ["ours", ours],
  ] as const) {
    const child = Bun.spawn([process.execPath, "-e", script], {
      cwd: import.meta.dir,
      stdout: "pipe",
      stderr: "ignore",
    });
    say(`an idle consumer, ${name}: ${await child.stdout.text()} % of a core`);
  }
}

function sendBare(producer: Producer, topic: string, records: EventRecord[]): Promise<unknown> {
  const messages = records.map(({ key, value }) => ({ key, value }));
  return producer.sendBatch({ topicMessages: [{ topic, messages }], acks: -1, compression: CompressionTypes.GZIP });
}

async function inBatches(records: EventRecord[], size: number, send: (some: EventRecord[]) => Promise<unknown>) {
  for (let i = 0; i < records.length; i += size) await send(records.slice(i, i + size));
}

async function inLanes(records: EventRecord[], lanes: number, send: (record: EventRecord) => Promise<unknown>) {
  const rest = records.values();
  const lane = async () => {
    for (const record of rest) await send(record);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1000;
}

function report(what: string, { bare, ours }: { bare: number[]; ours: number[] }): void {
  const show = (rates: number[]) =>
    `${Math.round(median(rates))}/s (${rates.map((rate) => Math.round(rate)).join(", ")})`;
  say(
    `${what}: bare ${show(bare)}, ours ${show(ours)}, ratio ${median(ours.map((rate, i) => rate / (bare[i] ?? Number.NaN))).toFixed(2)} (median of the rounds' own)`,
  );
}
