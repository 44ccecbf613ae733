import { afterAll, beforeAll, expect, test } from "bun:test";

import { outcome, send, signRequest, startTestStore, type TestStore } from "./testing.ts";

let store: TestStore;
/** In the order of their UTF-8 bytes. */
const keys = ["a", "a/", "a/b", "a/b/c", "a0", "b/1", "b/10", "b/2", "z", "é", "中文/视频", "🎬/a b+c%20.mp4"];

beforeAll(async () => {
  store = startTestStore();
  for (const key of keys.toReversed()) await store.client.put(key, Buffer.from(key));
});

afterAll(() => store.remove());

async function list(query: Record<string, string | number>) {
  const { objects, nextContinuationToken, isTruncated } = await store.client.listV2(query);
  return { names: objects.map(({ name }) => name), next: nextContinuationToken, isTruncated };
}

test("lists every key in the order of its bytes", async () => {
  expect((await list({ "max-keys": 1000 })).names).toEqual(keys);
});

test("tells size, time and digest of each object", async () => {
  const { objects } = await store.client.listV2({ prefix: "中文" });
  expect(objects).toMatchObject([{ name: "中文/视频", size: 13 }]);
  expect(Math.abs(Date.parse(objects[0]?.lastModified ?? "") - Date.now())).toBeLessThan(60_000);
  expect(objects[0]?.etag).toMatch(/^"[0-9A-F]{32}"$/);
});

test("lists by prefix and after a key", async () => {
  expect((await list({ prefix: "a/" })).names).toEqual(["a/", "a/b", "a/b/c"]);
  expect((await list({ prefix: "a/", "start-after": "a/" })).names).toEqual(["a/b", "a/b/c"]);
  expect((await list({ "start-after": "b/2" })).names).toEqual(keys.slice(8));
  expect((await list({ prefix: "b/", "start-after": "a" })).names).toEqual(["b/1", "b/10", "b/2"]);
  expect((await list({ prefix: "b/", "start-after": "c" })).names).toEqual([]);
  expect((await list({ prefix: "nothing" })).names).toEqual([]);
  expect((await list({ prefix: "🎬/a b+c%20" })).names).toEqual(keys.slice(-1));
});

test("pages cover every key once", async () => {
  for (const length of [1, 5, keys.length]) {
    const seen: string[] = [];
    let token: string | undefined;
    for (let pages = 0; pages < 20; pages++) {
      const page = await list({ "max-keys": length, ...(token ? { "continuation-token": token } : {}) });
      seen.push(...page.names);
      expect(page.names.length).toBeLessThanOrEqual(length);
      if (!page.isTruncated) break;
      token = page.next;
    }
    expect(seen).toEqual(keys);
  }
});

test("refuses page lengths and tokens that make no sense", async () => {
  for (const query of [
    { "max-keys": 0 },
    { "max-keys": 1001 },
    { "max-keys": "many" },
    { "continuation-token": "!" },
  ]) {
    expect(store.client.listV2(query)).rejects.toMatchObject({ code: "InvalidArgument" });
  }
  expect(store.client.listV2({ delimiter: "/" })).rejects.toMatchObject({ code: "NotImplemented" });
});

test("other operations on the bucket are not there", async () => {
  const request = await signRequest(store.url, (client) => client.list({ "max-keys": 10 }, {}));
  expect(await outcome(await send(request))).toBe("501 NotImplemented");
});
