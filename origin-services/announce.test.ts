import { afterAll, afterEach, beforeAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { createLog } from "@flick/platform/log.ts";
import { instancesKey, maxInstances } from "@flick/proto/instances.ts";
import { RedisClient } from "bun";

import { announce, type Lease } from "./announce.ts";

setDefaultTimeout(60_000);

let dir: string;
let server: TestServer;
let redis: RedisClient;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-announce-"));
  server = await startRedis({ dir });
});
afterAll(async () => {
  await server.stop();
  await rm(dir, { recursive: true });
});

const leases: Lease[] = [];
beforeEach(async () => {
  redis = new RedisClient(server.url);
  await redis.connect();
  await redis.del(instancesKey);
});
afterEach(async () => {
  await Promise.all(leases.splice(0).map((lease) => lease.withdraw()));
  redis.close();
});

const quick = { renewMs: 20, leaseMs: 200 };

/** Announces a process; what it logs is in `logged`. */
function start(url: string, options: { nodeId?: number; load?: () => number; times?: typeof quick } = {}) {
  const logged: string[] = [];
  const lease = announce({
    redisUrl: server.url,
    url,
    nodeId: options.nodeId ?? 0,
    describe: () => ({ services: ["user"], version: "1", load: options.load?.() ?? 0 }),
    log: createLog({ program: "test", write: (line) => void logged.push(line) }),
    times: options.times ?? quick,
  });
  leases.push(lease);
  return { lease, logged };
}

const entries = () => redis.hgetall(instancesKey).then((found) => found ?? {});
const urls = async () => Object.keys(await entries()).toSorted();

async function until(holds: () => Promise<boolean> | boolean, withinMs = 10_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`nothing came of it within ${withinMs} ms`);
    await Bun.sleep(5);
  }
}

test("a process is announced with what it is and how much it has to do, until it withdraws", async () => {
  let load = 3;
  const { lease } = start("http://a", { nodeId: 7, load: () => load });
  await until(async () => (await urls()).length === 1);
  const { "http://a": value = "" } = await entries();
  expect(value).toMatch(/^\d{13} [0-9a-f-]{36} 7 \{.*\}$/);
  expect(JSON.parse(value.slice(value.indexOf("{")))).toEqual({ services: ["user"], version: "1", load: 3 });
  load = 5;
  await until(async () => (await entries())["http://a"]?.includes('"load":5') ?? false);
  await lease.withdraw();
  expect(await urls()).toEqual([]);
});

test("a lease is renewed for as long as the process lives, and ends by itself with the process", async () => {
  start("http://alive", { nodeId: 1 });
  await until(async () => (await urls()).length === 1);
  // A process that died after its first renewal.
  start("http://dead", { nodeId: 2, times: { renewMs: 3_600_000, leaseMs: 200 } });
  await until(async () => (await urls()).length === 2);
  await until(async () => (await urls()).length === 1);
  await Bun.sleep(2 * quick.leaseMs);
  expect(await urls()).toEqual(["http://alive"]);
});

test("the last dead process is gone, too, although nobody cleans up after it", async () => {
  start("http://dead", { times: { renewMs: 3_600_000, leaseMs: 100 } });
  await until(async () => (await urls()).length === 1);
  await until(async () => !(await redis.exists(instancesKey)));
});

test("what is not a lease is removed by the next renewal", async () => {
  await redis.send("HSET", [instancesKey, "http://x", "rubbish", "http://y", "", "http://z", "99 id 5 {}"]);
  start("http://a");
  await until(async () => String(await urls()) === "http://a");
});

test("two processes with one NODE_ID: the second is kept out and says so, until the first has gone", async () => {
  const first = start("http://a", { nodeId: 4 });
  await until(async () => (await urls()).length === 1);
  const second = start("http://b", { nodeId: 4 });
  await until(() => second.logged.some((line) => line.includes("NODE_ID 4 is that of another origin")));
  expect(second.logged.join("\n")).toContain("http://a");
  expect(await urls()).toEqual(["http://a"]);
  await first.lease.withdraw();
  await until(async () => String(await urls()) === "http://b");
});

test("a process that is started again at its address takes its own place, and keeps it when the old one withdraws", async () => {
  const old = start("http://a", { times: { renewMs: 3_600_000, leaseMs: 60_000 } });
  await until(async () => (await urls()).length === 1);
  const { "http://a": before } = await entries();
  start("http://a");
  await until(async () => (await entries())["http://a"]?.split(" ")[1] !== before?.split(" ")[1]);
  await old.lease.withdraw();
  expect(await urls()).toEqual(["http://a"]);
});

test(`no more than ${maxInstances} are announced at once`, async () => {
  const others = Array.from({ length: maxInstances }, (_, index) => [`http://x${index}`, "9999999999999 id 40 {}"]);
  await redis.send("HSET", [instancesKey, ...others.flat()]);
  const { logged } = start("http://a");
  await until(() => logged.some((line) => line.includes(`there are ${maxInstances} origins already`)));
  expect(await redis.hexists(instancesKey, "http://a")).toBe(false);
  await redis.hdel(instancesKey, "http://x0");
  await until(() => redis.hexists(instancesKey, "http://a"));
});

test("a Redis that was away has the lease again soon", async () => {
  const { logged } = start("http://a");
  await until(async () => (await urls()).length === 1);
  await server.kill();
  await until(() => logged.some((line) => line.includes("cannot be renewed")));
  await server.start();
  redis = new RedisClient(server.url);
  await until(async () => (await urls().catch(() => [])).length === 1);
});
