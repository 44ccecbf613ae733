import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { RedisClient } from "bun";

import { createLog } from "../log.ts";
import type { EventLog, ReceivedEvent } from "./event-log.ts";
import { redisKeys } from "./redis-scripts.ts";
import { createRedisStreamsEventLog } from "./redis-streams.ts";
import { collect, record, until } from "./testing.ts";

describe("On Redis Streams, a process that has the name of another", () => {
  let dir: string;
  let server: TestServer;
  let redis: RedisClient;
  const opened: EventLog[] = [];
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-succession-"));
    server = await startRedis({ dir });
    redis = new RedisClient(server.url);
  }, 60_000);
  afterEach(() => Promise.all(opened.splice(0).map((log) => log.close())));
  afterAll(async () => {
    redis.close();
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  });

  /** An event log whose members are taken for dead after a longer time than a test waits. */
  function open(processName: string): EventLog {
    const log = createLog({ program: "test", level: "error" });
    const eventLog = createRedisStreamsEventLog({ url: server.url, log, processName, takeOverMs: 60_000 });
    opened.push(eventLog);
    return eventLog;
  }

  const newTopic = () => `test.${crypto.randomUUID()}`;
  const send = (command: string, ...args: (string | number)[]): Promise<unknown> =>
    redis.send(command, args.map(String));
  const told = (events: readonly ReceivedEvent[]) => events.map(({ value, attempt }) => `${value}: ${attempt}`);

  test("takes what that one held in its order, and before what is newer", async () => {
    const topic = newTopic();
    const before = open("one");
    await before.publish(["a", "b", "c", "d"].map((value) => record(topic, value)));
    const began = Promise.withResolvers<void>();
    const handler = async (_event: ReceivedEvent, signal: AbortSignal) => {
      began.resolve();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    };
    const subscription = await before.subscribe({ group: "g", topics: [topic], handler, concurrency: 1 });
    await began.promise;
    const seen = await collect(open("one"), { group: "g", topics: [topic], concurrency: 1 });
    await until(() => seen.length === 4, "all records");
    expect(told(seen)).toEqual(["a: 2", "b: 2", "c: 1", "d: 1"]);
    await subscription.close(0);
  });

  test("loses nothing, and buries nothing, when that one still lives", async () => {
    const topic = newTopic();
    const [before, after] = [open("one"), open("one")];
    await before.publish([record(topic, "fails late", "1"), record(topic, "ends late", "2")]);
    const gate = Promise.withResolvers<void>();
    const seen: string[] = [];
    const failures: string[] = [];
    const handler = async ({ value }: ReceivedEvent) => {
      seen.push(value);
      await gate.promise;
      if (value === "fails late") throw new Error("no longer asked");
    };
    const onError = ({ value }: ReceivedEvent) => void failures.push(value);
    await before.subscribe({ group: "g", topics: [topic], handler, onError, concurrency: 2, retryDelaysMs: [] });
    await until(() => seen.length === 2, "both records at the first one");
    const again = await collect(after, { group: "g", topics: [topic] });
    await until(() => again.length === 2, "both records at the second one");
    gate.resolve();
    await until(() => failures.length === 1, "the late failure");

    // It was forgotten as a member, and reads on.
    for (let i = 0; seen.length === 2; i++) {
      await before.publish([record(topic, `new ${i}`, `${i}`)]);
      await Bun.sleep(20);
    }
    await until(async () => (await before.lag(topic, "g")) === 0, "no lag");
    expect(told(again).slice(0, 2).toSorted()).toEqual(["ends late: 2", "fails late: 2"]);
    expect(await before.deadLetters(topic, 10)).toEqual([]);
    await before.close();
    await after.publish([record(topic, "last")]);
    await until(() => again.some(({ value }) => value === "last"), "a record after the first one has left");
  });

  test("leaves alone what was with a lost member before, what others hold, and what it holds itself", async () => {
    const topic = newTopic();
    const stream = redisKeys.stream(topic);
    const eventLog = open("one");
    await eventLog.publish(Array.from({ length: 7 }, (_, i) => record(topic, `${i}`, `${i}`)));
    await send("XGROUP", "CREATE", stream, "g", 0);
    const takeOne = async (member: string) => {
      const reply = await send("XREADGROUP", "GROUP", "g", member, "COUNT", 1, "STREAMS", stream, ">");
      return (reply as Record<string, [id: string][]>)[stream]?.[0]?.[0] ?? "";
    };
    const deadly = await takeOne("one@dead");
    await send("XCLAIM", stream, "g", "one@dead", 0, deadly, "RETRYCOUNT", 2);
    for (const member of ["one@dead", "one@dead too", "one-2@x", "one@two@x", "one"]) await takeOne(member);

    const began: ReceivedEvent[] = [];
    const handler = async (event: ReceivedEvent, signal: AbortSignal) => {
      began.push(event);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    };
    const first = await eventLog.subscribe({ group: "g", topics: [topic], handler, concurrency: 3 });
    await until(() => began.length === 3, "what is free");
    expect(told(began)).toEqual(["1: 2", "2: 2", "6: 1"]);
    const second = await collect(eventLog, { group: "g", topics: [topic] });
    await eventLog.publish([record(topic, "7")]);
    // The first one has no handler that is free, but room for it.
    await first.close(0);
    await until(() => second.length >= 4, "what the first subscription gave back, and what is new");
    expect(told(second).toSorted()).toEqual(["1: 2", "2: 2", "6: 1", "7: 1"]);
    const members = (await send("XINFO", "CONSUMERS", stream, "g")) as { name: string; pending: number }[];
    expect(
      Object.fromEntries(members.map(({ name, pending }) => [name.replace(/^one@(?!dead|two).*/, "own"), pending])),
    ).toEqual({ "one@dead": 1, "one-2@x": 1, "one@two@x": 1, one: 1, own: 0 });
  });
});
