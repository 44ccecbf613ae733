import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { RedisClient } from "bun";

import { createLog } from "../log.ts";
import { eventLogContract } from "./contract.ts";
import type { EventLog, EventRecord, ReceivedEvent } from "./event-log.ts";
import { redisKeys } from "./redis-scripts.ts";
import { createRedisStreamsEventLog, type RedisStreamsOptions } from "./redis-streams.ts";
import { collect, until } from "./testing.ts";

eventLogContract("Redis Streams", async () => {
  const { server, remove } = await privateRedis();
  const takeOverMs = 1_000;
  return {
    driver: {
      module: join(import.meta.dir, "redis-streams.ts"),
      factory: "createRedisStreamsEventLog",
      options: { url: server.url, takeOverMs, commandTimeoutMs: 1_000 },
    },
    takeOverMs,
    patience: { takeOverMs: 60_000 },
    stop: () => server.stop(),
    start: () => server.start(),
    remove,
  };
});

describe("The Redis Streams driver", () => {
  let server: TestServer;
  let remove: () => Promise<void>;
  const opened: EventLog[] = [];
  beforeAll(async () => {
    ({ server, remove } = await privateRedis());
  }, 60_000);
  afterAll(async () => {
    await Promise.all(opened.map((log) => log.close()));
    await remove();
  });

  /** A log that fails fast, what it logged, a topic of its own, and plain access to its Redis. */
  async function open(options: Partial<RedisStreamsOptions> = {}) {
    const lines: { level: string; message: string }[] = [];
    const write = (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]);
    const eventLog = createRedisStreamsEventLog({
      url: server.url,
      log: createLog({ program: "test", write }),
      takeOverMs: 300,
      commandTimeoutMs: 500,
      ...options,
    });
    opened.push(eventLog);
    const topic = `test.${crypto.randomUUID()}`;
    const redis = new RedisClient(server.url);
    const stream = redisKeys.stream(topic);
    const send = (command: string, ...args: (string | number)[]): Promise<unknown> =>
      redis.send(command, args.map(String));
    return { eventLog, topic, stream, send, lines };
  }

  test("keeps about as many records as it was told, and says so when a group has lost unread ones", async () => {
    const { eventLog, topic, stream, send, lines } = await open({ maxLength: 100 });
    const first = await collect(eventLog, { group: "g", topics: [topic] });
    await eventLog.publish(records(topic, 5));
    await until(() => first.length === 5, "five records");
    await eventLog.close();
    await (await open({ maxLength: 100 })).eventLog.publish(records(topic, 1_000));
    const kept = Number(await send("XLEN", stream));
    expect(kept).toBeGreaterThanOrEqual(100);
    expect(kept).toBeLessThan(400);

    const late = await open({ maxLength: 100 });
    const second = await collect(late.eventLog, { group: "g", topics: [topic] });
    await until(() => second.length === kept, "all that was kept");
    await until(async () => (await late.eventLog.lag(topic, "g")) === 0, "no lag");
    const losses = late.lines.filter(
      ({ message }) => message === "records were trimmed away before the group read them",
    );
    expect(losses).toEqual([expect.objectContaining({ level: "error", topic, group: "g", trimmed: 1_000 - kept })]);
    expect(lines.filter(({ level }) => level === "error")).toEqual([]);
  });

  test("holds at most twice as many records as handlers may run", async () => {
    const { eventLog, topic, stream, send } = await open();
    await eventLog.publish(records(topic, 100));
    let started = 0;
    const handler = async (_event: ReceivedEvent, signal: AbortSignal) => {
      started++;
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    };
    const subscription = await eventLog.subscribe({ group: "g", topics: [topic], handler, concurrency: 3 });
    await until(() => started === 3, "three handlers");
    await Bun.sleep(600);
    expect(started).toBe(3);
    expect(((await send("XPENDING", stream, "g")) as unknown[])[0]).toBe(6);
    await subscription.close(0);
    expect(((await send("XPENDING", stream, "g")) as unknown[])[0]).toBe(0);
    expect(await eventLog.lag(topic, "g")).toBe(100);
  });

  test("does not count an attempt that was given back, and keeps the order of what was", async () => {
    const { eventLog, topic } = await open();
    await eventLog.publish(records(topic, 12));
    const handler = () => Bun.sleep(20_000);
    const subscription = await eventLog.subscribe({ group: "g", topics: [topic], handler, concurrency: 6 });
    await Bun.sleep(100);
    await subscription.close(0);
    const seen = await collect(eventLog, { group: "g", topics: [topic], concurrency: 1 });
    await until(() => seen.length === 12, "twelve records");
    expect(seen.map(({ value, attempt }) => `${value}: ${attempt}`)).toEqual(
      Array.from({ length: 12 }, (_, i) => `${i}: 1`),
    );
  });

  test("remembers attempts and waits across members", async () => {
    const { eventLog, topic } = await open();
    await eventLog.publish(records(topic, 1));
    const failed = Promise.withResolvers<number>();
    const handler = () => Promise.reject(new Error("not now"));
    const subscription = await eventLog.subscribe({
      group: "g",
      topics: [topic],
      handler,
      retryDelaysMs: [800],
      onError: () => failed.resolve(Date.now()),
    });
    const failedAt = await failed.promise;
    await subscription.close();
    const seen = await collect((await open()).eventLog, { group: "g", topics: [topic] });
    await until(() => seen.length === 1, "the record");
    expect(seen[0]?.attempt).toBe(2);
    expect(Date.now() - failedAt).toBeGreaterThanOrEqual(790);
  });

  test("makes a dead letter of a record that its members do not survive", async () => {
    const { eventLog, topic, stream, send } = await open();
    await eventLog.publish(records(topic, 2));
    await send("XGROUP", "CREATE", stream, "g", 0);
    const reply = (await send("XREADGROUP", "GROUP", "g", "dead", "COUNT", 1, "STREAMS", stream, ">")) as Record<
      string,
      [string][]
    >;
    await send("XCLAIM", stream, "g", "dead", 0, reply[stream]?.[0]?.[0] ?? "", "RETRYCOUNT", 3);
    const seen = await collect(eventLog, { group: "g", topics: [topic], retryDelaysMs: [10, 10] });
    await until(async () => (await eventLog.deadLetters(topic, 10)).length === 1, "the dead letter");
    expect(await eventLog.deadLetters(topic, 10)).toEqual([
      expect.objectContaining({ value: "0", attempts: 4, reason: "no member that took it lived to answer" }),
    ]);
    expect(seen.map(({ value }) => value)).toEqual(["1"]);
  });

  test("leaves a record alone that another member has taken over", async () => {
    const { eventLog, topic, stream, send } = await open({ takeOverMs: 60_000 });
    const gate = Promise.withResolvers<void>();
    const started = Promise.withResolvers<string>();
    const handler = async ({ id }: ReceivedEvent) => {
      started.resolve(id);
      await gate.promise;
      throw new Error("too late");
    };
    const failed = Promise.withResolvers<void>();
    const onError = () => failed.resolve();
    const subscription = await eventLog.subscribe({ group: "g", topics: [topic], handler, onError, retryDelaysMs: [] });
    await eventLog.publish(records(topic, 1));
    const id = await started.promise;
    await send("XCLAIM", stream, "g", "another", 0, id);
    gate.resolve();
    await failed.promise;
    await subscription.close();
    expect(await eventLog.deadLetters(topic, 1)).toEqual([]);
    expect(await send("XPENDING", stream, "g", "-", "+", 10)).toEqual([[id, "another", expect.any(Number), 2]]);
  });

  test("forgets members that are dead and hold nothing, and takes its leave when it closes", async () => {
    const { eventLog, topic, stream, send } = await open({ deadMemberMs: 100, takeOverMs: 60_000 });
    await eventLog.publish(records(topic, 2));
    await send("XGROUP", "CREATE", stream, "g", 0);
    await send("XGROUP", "CREATECONSUMER", stream, "g", "dead");
    await send("XREADGROUP", "GROUP", "g", "holder", "COUNT", 1, "STREAMS", stream, ">");
    await Bun.sleep(200);
    const taken = Promise.withResolvers<void>();
    const handler = async () => taken.resolve();
    const subscription = await eventLog.subscribe({ group: "g", topics: [topic], handler });
    await taken.promise;
    const members = async () =>
      ((await send("XINFO", "CONSUMERS", stream, "g")) as { name: string }[]).map(({ name }) => name);
    expect(await members()).toEqual(["holder", expect.stringContaining(`-${process.pid}-`)]);
    await subscription.close();
    expect(await members()).toEqual(["holder"]);
  });

  test("joins its groups again after Redis lost everything", async () => {
    const { eventLog, topic, send } = await open();
    const seen = await collect(eventLog, { group: "g", topics: [topic] });
    await eventLog.publish(records(topic, 1));
    await until(() => seen.length === 1, "the first record");
    await send("FLUSHALL");
    await eventLog.publish(records(topic, 1));
    await until(() => seen.length === 2, "the second record");
  });

  test("fails a publish in time while Redis hangs, and works again afterwards", async () => {
    const { eventLog, topic } = await open();
    const seen = await collect(eventLog, { group: "g", topics: [topic] });
    await eventLog.publish(records(topic, 1));
    process.kill(server.pid(), "SIGSTOP");
    try {
      const startedAt = Date.now();
      await expect(eventLog.publish(records(topic, 1))).rejects.toThrow("EVALSHA took longer than 500 ms");
      await expect(eventLog.publish(records(topic, 1))).rejects.toThrow("waiting for a connection to Redis");
      expect(Date.now() - startedAt).toBeLessThan(3_000);
    } finally {
      process.kill(server.pid(), "SIGCONT");
    }
    await until(async () => (await eventLog.last(topic).catch(() => null)) !== null, "Redis at work again");
    await eventLog.publish([{ topic, key: "k", value: "after" }]);
    await until(() => seen.some(({ value }) => value === "after"), "the record after it");
  });

  test("says once that Redis is away and once that it is back, and queues no more than its bound", async () => {
    const { eventLog, topic, lines } = await open();
    const seen = await collect(eventLog, { group: "g", topics: [topic] });
    await server.kill();
    const outcomes = await Promise.allSettled(Array.from({ length: 1_100 }, () => eventLog.publish(records(topic, 1))));
    const reasons = outcomes.map((outcome) => (outcome.status === "rejected" ? String(outcome.reason) : "published"));
    expect(reasons.filter((reason) => reason.includes("1000 commands are waiting"))).toHaveLength(100);
    expect(reasons).not.toContain("published");
    await server.start();
    await until(
      () =>
        eventLog.publish(records(topic, 1)).then(
          () => true,
          () => false,
        ),
      "a publish that succeeds",
    );
    await until(() => seen.length >= 1, "a record");
    expect(lines.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      "warn: Redis is not reachable; trying until it is",
      "info: Redis is reachable again",
    ]);
  });
});

async function privateRedis() {
  const dir = await mkdtemp(join(tmpdir(), "flick-event-log-"));
  const server = await startRedis({ dir });
  return {
    server,
    async remove() {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Records with the values 0, 1, 2, … under different keys. */
function records(topic: string, count: number): EventRecord[] {
  return Array.from({ length: count }, (_, i) => ({ topic, key: `k${i}`, value: `${i}` }));
}
