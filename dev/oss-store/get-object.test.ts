import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { request as httpRequest } from "node:http";

import { outcome, startTestStore, type TestStore } from "./testing.ts";

let store: TestStore;
const thousand = Array.from({ length: 100 }, (_, index) => `line ${String(index).padStart(4, "0")}\n`).join("");

beforeAll(async () => {
  store = startTestStore();
  await put("thousand.txt", thousand);
  await put("empty.txt", "");
});

afterAll(() => store.remove());

const put = (key: string, body: string) =>
  store.client.put(key, Buffer.from(body), { mime: "text/plain", headers: { "x-oss-object-acl": "public-read" } });
const ask = (key: string, headers = {}, method = "GET") => fetch(`${store.url}/${key}`, { method, headers });

describe("a range", () => {
  test.each([
    ["bytes=0-0", "bytes 0-0/1000", thousand.slice(0, 1)],
    ["bytes=10-19", "bytes 10-19/1000", thousand.slice(10, 20)],
    ["bytes=990-", "bytes 990-999/1000", thousand.slice(990)],
    ["bytes=0-", "bytes 0-999/1000", thousand],
    ["bytes=0-999", "bytes 0-999/1000", thousand],
    ["bytes=-10", "bytes 990-999/1000", thousand.slice(-10)],
    ["bytes=-1000", "bytes 0-999/1000", thousand],
    ["bytes=5-9,20-29", "bytes 5-9/1000", thousand.slice(5, 10)],
  ])("%s is answered with 206 and %s", async (range, contentRange, body) => {
    const response = await ask("thousand.txt", { range });
    expect(response.status).toBe(206);
    expect(response.headers.get("content-range")).toBe(contentRange);
    expect(response.headers.get("content-length")).toBe(String(body.length));
    expect(await response.text()).toBe(body);
  });

  test.each([
    "byte=0-9",
    "bytes=0-1000",
    "bytes=1000-2000",
    "bytes=1000-",
    "bytes=-2000",
    "bytes=9-5",
    "bytes=-0",
    "bytes=a-b",
    "bytes=-",
  ])("%s is answered with the whole object, as OSS does", async (range) => {
    const response = await ask("thousand.txt", { range });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-range")).toBeNull();
    expect(response.headers.get("content-length")).toBe("1000");
    expect(await response.text()).toBe(thousand);
  });

  test("follows the HTTP standard when asked to", async () => {
    const standard = (range: string, key = "thousand.txt") => ask(key, { range, "x-oss-range-behavior": "standard" });
    const clipped = await standard("bytes=990-2000");
    expect([clipped.status, clipped.headers.get("content-range")]).toEqual([206, "bytes 990-999/1000"]);
    const suffix = await standard("bytes=-2000");
    expect([suffix.status, suffix.headers.get("content-range")]).toEqual([206, "bytes 0-999/1000"]);
    for (const range of ["bytes=1000-", "bytes=1000-2000", "bytes=-0"]) {
      expect(await outcome(await standard(range))).toBe("416 InvalidRange");
    }
    expect((await standard("bytes=9-5")).status).toBe(200);
    for (const range of ["bytes=0-", "bytes=-5"]) {
      expect(await outcome(await standard(range, "empty.txt"))).toBe("416 InvalidRange");
    }
  });

  test("of an empty object is the empty object", async () => {
    const response = await ask("empty.txt", { range: "bytes=0-" });
    expect([response.status, response.headers.get("content-length"), await response.text()]).toEqual([200, "0", ""]);
  });

  test("is described by HEAD without a body", async () => {
    const response = await ask("thousand.txt", { range: "bytes=1-2" }, "HEAD");
    expect([response.status, response.headers.get("content-length")]).toEqual([206, "2"]);
  });
});

test("HEAD says what GET says, without the body", async () => {
  const get = await ask("thousand.txt");
  const head = await ask("thousand.txt", {}, "HEAD");
  for (const name of ["content-length", "content-type", "etag", "last-modified", "accept-ranges"]) {
    expect([name, head.headers.get(name)]).toEqual([name, get.headers.get(name) ?? "missing"]);
  }
  expect(get.headers.get("accept-ranges")).toBe("bytes");
  expect(get.headers.get("content-length")).toBe("1000");
  expect(await head.text()).toBe("");
});

test("conditions are answered with 304 and 412", async () => {
  const { headers } = await ask("thousand.txt");
  const tag = headers.get("etag") ?? "";
  const date = headers.get("last-modified") ?? "";
  const dayBefore = new Date(Date.parse(date) - 86_400_000).toUTCString();
  const statusOf = async (conditions: Record<string, string>) => (await ask("thousand.txt", conditions)).status;
  expect(await statusOf({ "if-none-match": tag })).toBe(304);
  expect(await statusOf({ "if-none-match": `"other", W/${tag}` })).toBe(304);
  expect(await statusOf({ "if-none-match": "*" })).toBe(304);
  expect(await statusOf({ "if-none-match": '"other"' })).toBe(200);
  expect(await statusOf({ "if-none-match": '"other"', "if-modified-since": date })).toBe(200);
  expect(await statusOf({ "if-modified-since": date })).toBe(304);
  expect(await statusOf({ "if-modified-since": dayBefore })).toBe(200);
  expect(await statusOf({ "if-modified-since": "rubbish" })).toBe(200);
  expect(await statusOf({ "if-match": tag })).toBe(200);
  expect(await statusOf({ "if-match": '"other"' })).toBe(412);
  expect(await statusOf({ "if-unmodified-since": date })).toBe(200);
  expect(await statusOf({ "if-unmodified-since": dayBefore })).toBe(412);
});

test("a missing object is NoSuchKey to its owner", async () => {
  expect(store.client.get("missing")).rejects.toMatchObject({ code: "NoSuchKey", status: 404 });
  expect(store.client.head("missing")).rejects.toMatchObject({ code: "NoSuchKey", status: 404 });
});

test("deleting takes the object away, and may be repeated", async () => {
  await put("deleted.txt", "x");
  expect((await store.client.delete("deleted.txt")).res.status).toBe(204);
  expect((await store.client.delete("deleted.txt")).res.status).toBe(204);
  expect(await outcome(await ask("deleted.txt"))).toBe("403 AccessDenied");
});

test("a download goes on with its bytes while the object is replaced and deleted", async () => {
  const old = "a".repeat(30_000_000);
  await put("moving.txt", old);
  const { reader, first } = await openDownload("moving.txt");
  await put("moving.txt", "new");
  await store.client.delete("moving.txt");
  let size = first;
  for await (const chunk of reader) size += (chunk as Buffer).length;
  expect(size).toBe(old.length);
});

test("browsers of any origin may read what players need", async () => {
  const origin = "https://app.example";
  const response = await ask("thousand.txt", { origin, range: "bytes=0-9" });
  expect(response.headers.get("access-control-allow-origin")).toBe("*");
  expect(response.headers.get("access-control-expose-headers")).toContain("content-range");
  const preflight = await ask("thousand.txt", { origin, "access-control-request-method": "GET" }, "OPTIONS");
  expect(preflight.status).toBe(200);
  expect(preflight.headers.get("access-control-allow-methods")).toContain("GET");
});

/** A download whose first bytes have come and whose rest waits. */
function openDownload(key: string) {
  const { promise, resolve, reject } = Promise.withResolvers<{ reader: AsyncIterable<unknown>; first: number }>();
  const request = httpRequest(`${store.url}/${key}`, (reader) => {
    reader.once("readable", () => resolve({ reader, first: 0 }));
  });
  request.once("error", reject);
  request.end();
  return promise;
}
