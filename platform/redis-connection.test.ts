import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { RedisClient } from "bun";

import { createLog } from "./log.ts";
import { createRedisConnection } from "./redis-connection.ts";

let dir: string;
let server: TestServer;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-redis-"));
  server = await startRedis({ dir });
}, 60_000);
afterAll(async () => {
  await server.stop();
  await rm(dir, { recursive: true });
});

test("a connection that is closed while it is being made is not left open", async () => {
  const log = createLog({ program: "test", write: () => {} });
  const connections = Array.from({ length: 5 }, () =>
    createRedisConnection({ url: server.url, log, timeoutMs: 5_000 }),
  );
  const calls = connections.map((connection) => connection.send("PING", []).catch(() => "refused"));
  for (const connection of connections) connection.close();
  await Promise.all(calls);
  const watcher = new RedisClient(server.url);
  const others = async () =>
    String(await watcher.send("CLIENT", ["LIST"]))
      .trim()
      .split("\n").length - 1;
  for (const deadline = Date.now() + 5_000; (await others()) > 0 && Date.now() < deadline;) await Bun.sleep(20);
  expect(await others()).toBe(0);
  watcher.close();
});
