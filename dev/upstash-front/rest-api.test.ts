import { afterAll, expect, test } from "bun:test";

import { RedisClient } from "bun";

import { testServers } from "../testing.ts";
import { sendRaw, startTestFront, token } from "./testing.ts";

const { redisUrl } = await testServers();
const front = startTestFront(redisUrl);
const direct = new RedisClient(redisUrl);
const key = `upstash-rest:${crypto.randomUUID()}`;

afterAll(async () => {
  await direct.del(key);
  direct.close();
  await front.stop();
});

test("a command may be given in the path, with its value in the body and options in the query", async () => {
  expect((await front.call(`/set/${key}/a%2Fb%20%C3%A9`)).json).toEqual({ result: "OK" });
  expect((await front.call(`/get/${key}`)).json).toEqual({ result: "a/b é" });
  expect((await front.call(`/set/${key}?EX=100&XX`, { body: '{"json":true}' })).json).toEqual({ result: "OK" });
  expect(await direct.get(key)).toBe('{"json":true}');
  expect(await direct.ttl(key)).toBeGreaterThan(90);
  expect((await front.call(`/set/${key}/`, { method: "POST" })).json).toEqual({ result: "OK" });
  expect(await direct.get(key)).toBe("");
  expect(await front.call("/get/%ff")).toMatchObject({
    status: 400,
    json: { error: "ERR the path is not percent-encoded UTF-8" },
  });
});

test("bytes that are no text go in by the body, and come out in base64", async () => {
  const bytes = new Uint8Array([0xff, 0x00, 0x0d, 0x0a, 0x80]);
  await front.call(`/set/${key}`, { method: "PUT", body: bytes });
  const encoded = await front.call(`/get/${key}`, { headers: { "upstash-encoding": "base64" } });
  expect(encoded.json).toEqual({ result: Buffer.from(bytes).toString("base64") });
  expect((await front.call(`/get/${key}`)).json).toEqual({ result: "\uFFFD\u0000\r\n\uFFFD" });
});

test("base64 is for strings and not for numbers, nulls, errors or a plain OK", async () => {
  const headers = { "upstash-encoding": "base64" };
  const body = [
    ["SET", key, "OK"],
    ["GET", key],
    ["STRLEN", key],
    ["GET", `${key}:none`],
    ["LPUSH", key, "x"],
    ["TYPE", key],
  ];
  expect((await front.call("/pipeline", { headers, body })).json).toEqual([
    { result: "OK" },
    { result: btoa("OK") },
    { result: 2 },
    { result: null },
    { error: expect.stringMatching(/^WRONGTYPE /) },
    { result: btoa("string") },
  ]);
});

test("the token is taken from the header or the query, and nothing runs without it", async () => {
  await direct.set(key, "untouched");
  const attempts: [string, Record<string, string>][] = [
    [`/del/${key}`, {}],
    [`/del/${key}?_token=wrong`, {}],
    [`/del/${key}`, { authorization: "Bearer wrong" }],
    [`/del/${key}`, { authorization: `Bearer ${token}x` }],
    [`/del/${key}`, { authorization: "Bearer " }],
    [`/del/${key}`, { authorization: `Basic ${btoa(`default:${token}`)}` }],
    [`/del/${key}?_token=${token}`, { authorization: "Bearer wrong" }],
    ["/", {}],
  ];
  for (const [path, headers] of attempts) {
    const response = await fetch(front.url + path, { headers });
    expect([response.status, await response.json()]).toEqual([401, { error: "Unauthorized" }]);
  }
  expect(await direct.get(key)).toBe("untouched");
  const byQuery = await fetch(`${front.url}/get/${key}?_token=${token}`);
  expect(await byQuery.json()).toEqual({ result: "untouched" });
  const anyCase = await fetch(`${front.url}/get/${key}`, { headers: { authorization: `bearer ${token}` } });
  expect(anyCase.status).toBe(200);
});

test("anybody may ask whether it is there", async () => {
  const response = await fetch(`${front.url}/healthz`);
  expect([response.status, await response.text()]).toEqual([200, "ok\n"]);
});

test("other methods and other formats are refused", async () => {
  expect(await front.call(`/get/${key}`, { method: "DELETE" })).toMatchObject({
    status: 405,
    json: { error: "ERR method not allowed" },
  });
  expect((await front.call(`/get/${key}`, { headers: { "upstash-response-format": "resp2" } })).status).toBe(400);
});

test("a request that holds no command says what is wrong with it", async () => {
  for (const [path, body, message] of [
    ["/", "", "ERR the request has no body"],
    ["/", "{", "ERR the body is not JSON"],
    ["/", "{}", "ERR a command is a JSON array"],
    ["/", "[]", "ERR empty command"],
    ["/", '[""]', "ERR empty command"],
    ["/", '["GET",null]', "ERR the parts of a command are strings, numbers or booleans"],
    ["/", '["GET",["a"]]', "ERR the parts of a command are strings, numbers or booleans"],
    ["/pipeline", "", "ERR the request has no body"],
    ["/pipeline", "[]", "ERR there is no command in the request"],
    ["/pipeline", '["GET","k"]', "ERR a command is a JSON array"],
    ["/multi-exec", "{}", "ERR expected a JSON array of commands"],
    ["/nosuch", "", "ERR Command is not available: 'NOSUCH'"],
  ] as const) {
    const { status, json } = await front.call(path, { method: "POST", body });
    expect([status, json]).toEqual([400, { error: expect.stringContaining(message) }]);
  }
});

test("one request holds 1000 commands and not one more", async () => {
  const commands = (count: number) => Array.from({ length: count }, () => ["PING"]);
  expect((await front.call("/pipeline", { body: commands(1000) })).json).toHaveLength(1000);
  for (const path of ["/pipeline", "/multi-exec"]) {
    expect(await front.call(path, { body: commands(1001) })).toMatchObject({
      status: 400,
      json: { error: "ERR too many commands in one request. Limit: 1000, Actual: 1001" },
    });
  }
});

test("a body of 1 MiB is taken, and a longer one refused by its length", async () => {
  const value = (length: number) => "x".repeat(length);
  expect((await front.call(`/set/${key}`, { body: value(2 ** 20) })).status).toBe(200);
  expect(await direct.strlen(key)).toBe(2 ** 20);
  expect(await front.call(`/set/${key}`, { body: value(2 ** 20 + 1) })).toMatchObject({
    status: 413,
    json: { error: "ERR max request size exceeded. Limit: 1048576 bytes, Actual: 1048577 bytes" },
  });
});

test("an answer of more than 16 MiB is refused, and the next request works", async () => {
  await direct.set(key, "x".repeat(2 ** 20));
  const read = (times: number) => front.call("/pipeline", { body: Array.from({ length: times }, () => ["GET", key]) });
  expect((await read(15)).json).toHaveLength(15);
  expect((await read(15)).json).toHaveLength(15);
  const tooLong = { status: 400, json: { error: "ERR the answer is longer than 16777216 bytes" } };
  expect(await read(20)).toMatchObject(tooLong);
  const one = ["EVAL", "return string.rep('x', 17 * 1024 * 1024)", "0"];
  expect(await front.call("/", { body: one })).toMatchObject(tooLong);
  expect((await front.call(`/strlen/${key}`)).json).toEqual({ result: 2 ** 20 });
});

test("a body that is too long is not read to its end, nor is a stranger's", async () => {
  const head = (line: string, ...headers: string[]) => [line, "host: x", ...headers, "", ""].join("\r\n");
  const authorization = `authorization: Bearer ${token}`;
  const announced = head("POST / HTTP/1.1", authorization, "content-length: 5000000000");
  expect(await sendRaw(front.url, announced)).toMatch(/^HTTP\/1.1 413 .*connection: close.*Limit: 1048576 bytes/is);
  const chunked = head("POST / HTTP/1.1", authorization, "transfer-encoding: chunked");
  const chunk = `20000\r\n${"x".repeat(0x20000)}\r\n`;
  expect(await sendRaw(front.url, chunked + chunk.repeat(9))).toMatch(/^HTTP\/1.1 413 .*Limit: 1048576 bytes/s);
  const stranger = head("POST / HTTP/1.1", "content-length: 5000000000");
  expect(await sendRaw(front.url, stranger)).toMatch(/^HTTP\/1.1 401 .*connection: close/is);
});
