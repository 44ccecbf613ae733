import { afterAll, expect, test } from "bun:test";

import { RedisClient } from "bun";

import { testServers } from "../testing.ts";
import { createClient, startTestFront } from "./testing.ts";

const { redisUrl } = await testServers();
const front = startTestFront(redisUrl);
const { client } = front;
const direct = new RedisClient(redisUrl);
const prefix = `upstash-front:${crypto.randomUUID()}`;
const key = (name: string) => `${prefix}:${name}`;

afterAll(async () => {
  const keys = await direct.keys(`${prefix}*`);
  if (keys.length > 0) await direct.del(...keys);
  direct.close();
  await front.stop();
});

test("strings, numbers and objects come back as the client stored them", async () => {
  expect(await client.set(key("text"), "hello", { ex: 60 })).toBe("OK");
  expect(await client.get<string>(key("text"))).toBe("hello");
  expect(await client.ttl(key("text"))).toBeGreaterThan(50);
  await client.set(key("object"), { id: 7, tags: ["a"] });
  expect(await client.get<object>(key("object"))).toEqual({ id: 7, tags: ["a"] });
  expect(await client.get(key("missing"))).toBeNull();
  expect(await client.mget(key("text"), key("missing"))).toEqual(["hello", null]);
  expect(await client.set(key("text"), "other", { nx: true })).toBeNull();
  expect(await client.exists(key("text"), key("missing"))).toBe(1);
});

test("emoji, line ends and the word OK survive both encodings", async () => {
  const values = ["👩‍👩‍👧 短视频", "a\r\n$5\r\nb\u0000c", "OK", "", '"quoted" \\ '];
  for (const plain of [client, createClient(front.url, { responseEncoding: false })]) {
    for (const [index, value] of values.entries()) {
      await plain.set(key(`odd:${index}`), value);
      expect(await plain.get<string>(key(`odd:${index}`))).toBe(value);
    }
    expect(await plain.mget<string[]>(values.map((_, index) => key(`odd:${index}`)))).toEqual(values);
  }
});

test("hashes and scores have the shapes of RESP2", async () => {
  await client.hset(key("hash"), { name: "Ada", age: 36 });
  expect(await client.hgetall(key("hash"))).toEqual({ name: "Ada", age: 36 });
  expect(await client.hgetall(key("missing"))).toBeNull();
  await client.zadd(key("zset"), { score: 1.5, member: "low" }, { score: 1e21, member: "high" });
  expect(await client.zrange<unknown[]>(key("zset"), 0, -1, { withScores: true })).toEqual(["low", 1.5, "high", 1e21]);
  expect(await client.zscore(key("zset"), "low")).toBe(1.5);
  expect((await front.call("/", { body: ["HGETALL", key("hash")] })).json).toEqual({
    result: ["name", "Ada", "age", "36"],
  });
  const scores = await front.call("/", { body: ["ZRANGE", key("zset"), 0, -1, "WITHSCORES"] });
  expect(scores.json).toEqual({ result: ["low", "1.5", "high", "1e+21"] });
});

test("streams, scans and nested replies come through", async () => {
  const id = await client.xadd(key("stream"), "*", { field: "value" });
  expect(await client.xrange(key("stream"), "-", "+")).toEqual({ [id]: { field: "value" } });
  const [cursor, keys] = await client.scan("0", { match: key("stream"), count: 100_000 });
  expect([cursor, keys]).toEqual(["0", [key("stream")]]);
  expect(await client.eval("return {1, {'a', {redis.status_reply('OK'), false}}, 2.9}", [], [])).toEqual([
    1,
    ["a", ["OK", null]],
    2,
  ]);
});

test("integers keep all of their digits, on the way in and out", async () => {
  const largest = "9223372036854775807";
  await client.set(key("large"), "9007199254740993");
  const increment = await front.call("/", { body: `["INCRBY","${key("large")}",9214364837600034814]` });
  expect(increment.text).toBe(`{"result":${largest}}`);
  expect(await direct.get(key("large"))).toBe(largest);
  expect(await client.set(key("number"), Number.MAX_SAFE_INTEGER)).toBe("OK");
  expect(await client.incr(key("number"))).toBe(Number.MAX_SAFE_INTEGER + 1);
});

test("a pipeline answers each command, and the error of one is its own", async () => {
  await client.set(key("word"), "word");
  const results = await client.pipeline().set(key("p"), 1).incr(key("word")).incr(key("p")).exec({ keepErrors: true });
  expect(results.map(({ result, error }) => error ?? result)).toEqual([
    "OK",
    "ERR value is not an integer or out of range",
    2,
  ]);
  const refused = await front.call("/pipeline", { body: [["GET", key("word")], ["CONFIG", "GET", "*"], ["PING"]] });
  expect(refused.status).toBe(200);
  expect(refused.json).toEqual([
    { result: "word" },
    { error: expect.stringContaining("ERR Command is not available: 'CONFIG'") },
    { result: "PONG" },
  ]);
});

test("commands given in the same turn, which the client sends together, each get their own answer", async () => {
  const words = Array.from({ length: 200 }, (_, index) => `word ${index}`);
  expect(await Promise.all(words.map((word) => client.echo(word)))).toEqual(words);
});

test("nobody's writes come between the commands of a transaction", async () => {
  const reads: [string, string][] = Array.from({ length: 998 }, () => ["GET", key("atomic")]);
  const body = [["SET", key("atomic"), "0"], ...reads, ["INCR", key("atomic")]];
  const finished = new AbortController();
  const disturb = async () => {
    while (!finished.signal.aborted) await Promise.all(Array.from({ length: 20 }, () => direct.incr(key("atomic"))));
  };
  const disturbance = disturb();
  try {
    for (let round = 0; round < 20; round++) {
      const { json } = await front.call("/multi-exec", { body });
      expect(json).toEqual([{ result: "OK" }, ...reads.map(() => ({ result: "0" })), { result: 1 }]);
    }
  } finally {
    finished.abort();
    await disturbance;
  }
});

test("transactions side by side, with other commands between them, do not mix", async () => {
  const transfer = async (index: number) => {
    const transaction = client.multi().set(key("turn"), index);
    transaction.incr(key("turns"));
    transaction.get(key("turn"));
    const [, , read] = await transaction.exec<[string, number, number]>();
    expect(read).toBe(index);
  };
  const write = () => client.set(key("turn"), -1);
  await Promise.all(Array.from({ length: 60 }, (_, index) => (index % 3 === 0 ? write() : transfer(index))));
  expect(await client.get<number>(key("turns"))).toBe(40);
});

test("a transaction keeps going over an error at run time, and is discarded for one before", async () => {
  await client.set(key("word"), "word");
  const run = await front.call("/multi-exec", {
    body: [
      ["INCR", key("word")],
      ["SET", key("m"), "1"],
    ],
  });
  expect(run.json).toEqual([{ error: "ERR value is not an integer or out of range" }, { result: "OK" }]);
  for (const [bad, message] of [
    [["GET"], "EXECABORT Transaction discarded because of: ERR wrong number of arguments for 'get' command"],
    [["BLPOP", "x", "0"], "ERR Command is not available: 'BLPOP'"],
    [["EXEC"], "ERR Command is not available: 'EXEC'"],
  ] as const) {
    const discarded = await front.call("/multi-exec", { body: [["SET", key("m"), "2"], bad] });
    expect(discarded.status).toBe(400);
    expect(discarded.json).toEqual({ error: expect.stringContaining(message) });
    expect(await direct.get(key("m"))).toBe("1");
  }
  expect(await client.ping()).toBe("PONG");
});

test("scripts with Upstash's own flag run, and are found by the SHA that their caller knows", async () => {
  const code = `#!lua flags=allow-key-locking\n-- ${prefix}\nreturn redis.call("INCRBY", KEYS[1], ARGV[1])`;
  const sha = new Bun.CryptoHasher("sha1").update(code).digest("hex");
  await expect(client.evalsha(sha, [key("script")], ["5"])).rejects.toThrow("NOSCRIPT");
  expect(await client.eval<[string], number>(code, [key("script")], ["5"])).toBe(5);
  expect(await client.evalsha<[string], number>(sha, [key("script")], ["5"])).toBe(10);
  expect(await client.scriptExists(sha)).toEqual([1]);

  const loaded = code.replace("INCRBY", "DECRBY");
  const loadedSha = new Bun.CryptoHasher("sha1").update(loaded).digest("hex");
  expect(await client.scriptLoad(loaded)).toBe(loadedSha);
  expect(await client.evalsha<[string], number>(loadedSha, [key("script")], ["1"])).toBe(9);
  const wrong = await front.call("/pipeline", { body: [["SCRIPT", "LOAD", code.replace("return", "retrun")]] });
  expect(wrong.json).toEqual([{ error: expect.stringContaining("ERR Error compiling script") }]);
  // What @upstash/ratelimit does: the SHA first, and the text where it is not known.
  const script = client.createScript<number>(code.replace("-- ", "-- third "));
  expect([await script.exec([key("script")], ["1"]), await script.exec([key("script")], ["1"])]).toEqual([10, 11]);
  const transaction = client.multi().evalsha(sha, [key("script")], ["4"]);
  expect(await transaction.exec<[number]>()).toEqual([15]);
});

test("errors of Redis reach the client as they are, with status 400", async () => {
  await client.set(key("text"), "text");
  await expect(client.lpush(key("text"), "x")).rejects.toThrow(
    "WRONGTYPE Operation against a key holding the wrong kind",
  );
  expect(await front.call("/", { body: ["LPUSH", key("text"), "x"] })).toMatchObject({
    status: 400,
    json: { error: "WRONGTYPE Operation against a key holding the wrong kind of value" },
  });
  await expect(client.eval("return redis.error_reply('MYERR mine')", [], [])).rejects.toThrow("MYERR mine");
});

test("a wrong token is refused, and says so", async () => {
  const stranger = createClient(front.url, { token: "wrong-token" });
  await expect(stranger.get("x")).rejects.toThrow("Unauthorized");
});

test("a stop lets a request at work end, and takes no more", async () => {
  const stopping = startTestFront(redisUrl);
  const slow = `local function now() local t = redis.call("TIME") return t[1] * 1000 + t[2] / 1000 end
    local until_ms = now() + 300 repeat until now() > until_ms return "done"`;
  const pending = stopping.call("/", { body: ["EVAL", slow, "0"] });
  await Bun.sleep(100);
  const stopped = stopping.stop();
  await expect(fetch(`${stopping.url}/healthz`)).rejects.toThrow();
  expect((await pending).json).toEqual({ result: "done" });
  await stopped;
});
