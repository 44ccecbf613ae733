import { afterAll, beforeAll, expect, test } from "bun:test";

import { testServers } from "@flick/dev/testing.ts";
import { RedisClient } from "bun";

import { createLog } from "../log.ts";
import { createRedisConnection, type RedisConnection } from "../redis-connection.ts";
import { createConfigStore, historyLength, type ConfigStore } from "./config-store.ts";

let client: RedisClient;
let connections: RedisConnection[];
let stores: ConfigStore[];
/** Keys of this file's own. */
const name = (of: string) => `test-${crypto.randomUUID()}-${of}`;

beforeAll(async () => {
  const { redisUrl: url } = await testServers();
  client = new RedisClient(url);
  const log = createLog({ program: "tests", level: "error" });
  connections = Array.from({ length: 8 }, () => createRedisConnection({ url, log, timeoutMs: 5_000 }));
  stores = connections.map(createConfigStore);
});
afterAll(() => {
  for (const connection of connections) connection.close();
  client.close();
});

function one(): ConfigStore {
  const [store] = stores;
  if (!store) throw new Error("no store");
  return store;
}

test("nothing is stored at first: version 0", async () => {
  const program = name("empty");
  expect(await one().current(program)).toEqual({ document: null, version: 0, unreadable: false });
  expect(await one().history(program)).toEqual([]);
});

test("versions count on from 1, each with its time and note, and the newest applies", async () => {
  const program = name("counts");
  const before = Date.now();
  expect(await one().write(program, { from: 0, settings: { a: 1 }, note: "first" })).toEqual({
    written: true,
    version: 1,
  });
  expect(await one().write(program, { from: 1, settings: { a: 2 }, note: "" })).toEqual({ written: true, version: 2 });
  const { document } = await one().current(program);
  expect(document).toMatchObject({ version: 2, settings: { a: 2 } });
  expect(document?.time).toBeGreaterThanOrEqual(before);
  expect((await one().history(program)).map(({ version, note }) => [version, note])).toEqual([
    [2, ""],
    [1, "first"],
  ]);
});

test("of many who began from the same version, one wins, and the others are told", async () => {
  const program = name("race");
  for (let from = 0; from < 20; from++) {
    const answers = await Promise.all(
      stores.map((store, writer) => store.write(program, { from, settings: { writer }, note: "" })),
    );
    expect(answers.filter(({ written }) => written)).toHaveLength(1);
    expect(new Set(answers.map(({ version }) => version))).toEqual(new Set([from + 1]));
    const { document } = await one().current(program);
    expect(document?.settings).toEqual({ writer: answers.findIndex(({ written }) => written) });
  }
});

test("the history ends at its bound", async () => {
  const program = name("long");
  for (let from = 0; from < historyLength + 5; from++) await one().write(program, { from, settings: {}, note: "" });
  const history = await one().history(program);
  expect(history.map(({ version }) => version)).toEqual(
    Array.from({ length: historyLength }, (_, i) => historyLength + 5 - i),
  );
});

test("what cannot be read can be replaced, and versions go on from the history's", async () => {
  const program = name("rubbish");
  await one().write(program, { from: 0, settings: { a: 1 }, note: "" });
  await client.set(`config::${program}`, "not JSON");
  expect(await one().current(program)).toEqual({ document: null, version: 1, unreadable: true });
  expect(await one().write(program, { from: 1, settings: { a: 2 }, note: "" })).toEqual({ written: true, version: 2 });
  expect((await one().current(program)).document).toMatchObject({ version: 2, settings: { a: 2 } });
});

test("what is too long is refused with the limit", async () => {
  const program = name("large");
  const settings = { text: "x".repeat(70_000) };
  await expect(one().write(program, { from: 0, settings, note: "" })).rejects.toThrow("65536 bytes");
  await expect(one().write(program, { from: 0, settings: {}, note: "x".repeat(501) })).rejects.toThrow(
    "500 characters",
  );
  expect((await one().current(program)).version).toBe(0);
});
