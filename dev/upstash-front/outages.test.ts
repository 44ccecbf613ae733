import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis } from "../testing.ts";
import { startTestFront } from "./testing.ts";

const dir = mkdtempSync(join(tmpdir(), "upstash-outages-"));
const redis = await startRedis({ dir });

afterAll(async () => {
  await redis.stop();
  rmSync(dir, { recursive: true });
});

/** How long an operation took, in milliseconds, and what came of it. */
async function timed<T>(operation: Promise<T>): Promise<{ ms: number; result: T }> {
  const startedAt = performance.now();
  const result = await operation;
  return { ms: performance.now() - startedAt, result };
}

test("while Redis is away every request is answered with 503 at once, and when it is back the next one works", async () => {
  const front = startTestFront(redis.url);
  await front.client.set("kept", "value");
  for (const end of ["stop", "kill"] as const) {
    await redis[end]();
    const requests = ["/get/kept", "/pipeline", "/multi-exec"].map((path) =>
      timed(front.call(path, path === "/get/kept" ? {} : { body: [["GET", "kept"]] })),
    );
    for (const { ms, result } of await Promise.all(requests)) {
      expect(result.status).toBe(503);
      expect(result.json).toEqual({ error: expect.stringMatching(/^ERR .*connection to Redis/) });
      expect(ms).toBeLessThan(1800);
    }
    expect((await fetch(`${front.url}/healthz`)).status).toBe(200);
    await redis.start();
    expect((await front.call("/get/kept")).json).toEqual({ result: "value" });
  }
  expect(front.logged.filter((line) => line.includes("not reachable"))).toHaveLength(2);
  expect(front.logged.filter((line) => line.includes("reachable again"))).toHaveLength(2);
  await front.stop();
});

test("a front that starts before Redis works once Redis does, and so do scripts after Redis has forgotten them", async () => {
  await redis.stop();
  const front = startTestFront(redis.url);
  expect((await front.call("/ping")).status).toBe(503);
  await redis.start();
  expect((await front.call("/ping")).json).toEqual({ result: "PONG" });

  const script = front.client.createScript<number>("#!lua flags=allow-key-locking\nreturn 5");
  expect(await script.exec([], [])).toBe(5);
  await redis.stop();
  await redis.start();
  // Redis has forgotten it: the client hears NOSCRIPT, and sends the text again.
  expect(await script.exec([], [])).toBe(5);
  await front.stop();
});

test("a Redis that hangs is given up after 5 s, and is used again when it answers", async () => {
  const front = startTestFront(redis.url);
  await front.call("/ping");
  process.kill(redis.pid(), "SIGSTOP");
  try {
    const answers = await Promise.all(Array.from({ length: 10 }, () => timed(front.call("/incr/hung"))));
    for (const { ms, result } of answers) {
      expect([result.status, result.json]).toEqual([503, { error: "ERR Redis did not answer within 5000 ms" }]);
      expect(ms).toBeLessThan(9000);
    }
    // The new connection is taken by the system, and says nothing.
    const next = await timed(front.call("/ping"));
    expect([next.result.status, next.result.json]).toEqual([503, { error: "ERR Redis did not answer within 2000 ms" }]);
    expect(next.ms).toBeLessThan(4500);
  } finally {
    process.kill(redis.pid(), "SIGCONT");
  }
  expect((await front.call("/ping")).json).toEqual({ result: "PONG" });
  await front.stop();
}, 20_000);

test("a wrong password is a 503 that says so, and neither answer nor log holds the password", async () => {
  const url = new URL(redis.url);
  url.password = "not-the-password";
  const front = startTestFront(url.href);
  const { status, text } = await front.call("/ping");
  expect(status).toBe(503);
  expect(text).toContain("Redis refuses the connection: WRONGPASS");
  expect(text + front.logged.join("")).not.toContain("not-the-password");
  await front.stop();
});

test("a database in the URL is the one that is used", async () => {
  const second = startTestFront(`${redis.url}/2`);
  const first = startTestFront(redis.url);
  await second.client.set("where", "second");
  expect(await first.client.get("where")).toBeNull();
  expect(await second.client.get<string>("where")).toBe("second");
  await Promise.all([first.stop(), second.stop()]);
});

test("an answer that is no RESP2 ends the connection, and the next request makes a new one", async () => {
  const server = await startServer((connection) =>
    connection === 1 ? "HTTP/1.1 400 Bad Request\r\n\r\n" : "+PONG\r\n",
  );
  const front = startTestFront(server.url);
  const notResp = await front.call("/ping");
  expect([notResp.status, notResp.json]).toEqual([503, { error: "ERR the server's answer is not RESP2" }]);
  expect((await front.call("/ping")).json).toEqual({ result: "PONG" });
  await front.stop();
  // A stopped front leaves no connection behind.
  await server.allClosed();
  server.stop();
});

test("10 000 commands may wait for an answer; more are refused at once, and all fail when the connection breaks", async () => {
  // Answers the greeting only.
  const server = await startServer((_, question) => (question === 1 ? "+PONG\r\n" : ""));
  const front = startTestFront(server.url);
  const body = Array.from({ length: 1000 }, () => ["GET", "x"]);
  const waiting = Array.from({ length: 10 }, () => front.call("/pipeline", { body }));
  await server.received(10_001);
  const { ms, result } = await timed(front.call("/get/x"));
  expect(result.status).toBe(503);
  expect(result.json).toEqual({ error: "ERR more than 10000 commands would wait for Redis" });
  expect(ms).toBeLessThan(4000);
  server.stop();
  const broken = await timed(Promise.all(waiting));
  for (const { status } of broken.result) expect(status).toBe(503);
  expect(broken.ms).toBeLessThan(4000);
  await front.stop();
});

/**
 * A server that is no Redis.
 *
 * @param answer to what a connection sends, both counted from 1.
 */
async function startServer(answer: (connection: number, question: number) => string) {
  const sockets: Socket[] = [];
  const closed: Promise<unknown>[] = [];
  const received = { commands: 0 };
  const server = createServer((socket) => {
    const connection = sockets.push(socket);
    let questions = 0;
    socket.on("error", () => {});
    closed.push(new Promise((resolve) => void socket.once("close", resolve)));
    socket.on("data", (bytes) => {
      received.commands += bytes.toString().split("*").length - 1;
      socket.write(answer(connection, ++questions));
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async received(count: number) {
      while (received.commands < count) await Bun.sleep(5);
    },
    allClosed: () => Promise.all(closed),
    stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
