import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { RedisClient } from "bun";

import { createLog } from "../log.ts";
import { followConfig } from "./follow-redis.ts";
import { flag, section } from "./settings.ts";

setDefaultTimeout(60_000);

const schema = section({ comments: flag({ default: true, what: "new comments" }) });
const stored = (version: number, settings: unknown) => JSON.stringify({ version, time: 1, note: "", settings });
const key = "config::test";

let dir: string;
let redis: TestServer;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-config-"));
  redis = await startRedis({ dir: join(dir, "redis") });
});
afterAll(async () => {
  await redis.stop();
  await rm(dir, { recursive: true });
});

/** Stores a document by a connection of its own. */
async function put(text: string): Promise<void> {
  const client = new RedisClient(redis.url);
  await client.set(key, text);
  client.close();
}

async function until(holds: () => boolean, withinMs: number): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`nothing came of it within ${withinMs} ms`);
    await Bun.sleep(20);
  }
}

function follow(logged: string[] = []) {
  const log = createLog({ program: "tests", write: (line) => void logged.push(line) });
  return followConfig({ program: "test", schema, url: redis.url, log });
}

test("has what is stored when it starts, and a change within 10 s, of which it tells", async () => {
  await put(stored(1, { comments: false }));
  const config = await follow();
  expect(config.current().comments).toBe(false);
  let told = 0;
  config.watch(() => told++);
  await put(stored(2, { comments: true }));
  await until(() => config.current().comments, 10_000);
  expect(told).toBeGreaterThan(0);
  config.close();
});

test("begins with the defaults while Redis is away, and takes what is stored when it is back", async () => {
  await put(stored(3, { comments: false }));
  await redis.stop();
  const logged: string[] = [];
  const config = await follow(logged);
  expect(config.current().comments).toBe(true);
  expect(logged.join("")).toContain("the configuration cannot be read");
  await redis.start();
  await until(() => !config.current().comments, 20_000);
  config.close();
});

test("goes on by what it had when Redis goes away, and says so once", async () => {
  await put(stored(4, { comments: false }));
  const logged: string[] = [];
  const config = await follow(logged);
  await redis.stop();
  await until(() => logged.join("").includes("the configuration cannot be read"), 20_000);
  await Bun.sleep(7_000);
  expect(config.current().comments).toBe(false);
  expect(logged.filter((line) => line.includes("the configuration cannot be read"))).toHaveLength(1);
  config.close();
  await redis.start();
});
