import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";

import { outcome, rawHead, send, sendRaw, signPut, startTestStore, type TestStore } from "./testing.ts";

let store: TestStore;

beforeAll(() => {
  store = startTestStore();
});

afterAll(() => store.remove());

describe("a key", () => {
  test.each([
    "plain.txt",
    "with space and  two",
    "plus+plus.txt",
    "percent%20and%.txt",
    "question?mark=1&b#hash",
    "quotes'(\"!*).txt",
    "semi;colon,comma=equals@at:colon",
    "back\\slash",
    "中文/视频.mp4",
    "emoji 🎬/👩‍👩‍👧.mp4",
    "double//slash",
    "ends/with/slash/",
    "index.sqlite",
    "files/x",
    "x".repeat(1023),
  ])("%p comes back as it was written", async (key) => {
    await store.client.put(key, Buffer.from(`body of ${key}`));
    expect(String((await store.client.get(key)).content)).toBe(`body of ${key}`);
    const { objects } = await store.client.listV2({ prefix: key, "max-keys": 10 });
    expect(objects.map(({ name }) => name)).toEqual([key]);
    const signed = await store.client.signatureUrlV4("GET", 60, undefined, key);
    expect(await (await fetch(signed)).text()).toBe(`body of ${key}`);
    await store.client.delete(key);
    expect(store.client.head(key)).rejects.toMatchObject({ status: 404 });
  });

  test("may be the beginning of another", async () => {
    const nested = ["n", "n/", "n/n", "n/n/n"];
    for (const key of nested) await store.client.put(key, Buffer.from(key));
    for (const key of nested) expect(String((await store.client.get(key)).content)).toBe(key);
    await store.client.delete("n");
    expect(String((await store.client.get("n/n")).content)).toBe("n/n");
  });

  test("of the wrong form is refused", async () => {
    const { url } = store;
    const signed = await signPut(url, "placeholder", "x");
    const refused = ["/%2Fslash", "/%5Cbackslash", "/nul%00", "/line%0A", "/%FF", `/${"x".repeat(1024)}`];
    for (const path of refused) {
      expect([path, await outcome(await send({ ...signed, url: `${url}${path}` }))]).toEqual([
        path,
        "400 InvalidObjectName",
      ]);
    }
  });
});

describe("a path out of the folder", () => {
  test.each([
    "/../secret",
    "/../../../../etc/passwd",
    "/%2e%2e/secret",
    "/a/../../secret",
    "/..%2Fsecret",
    "/..%5Csecret",
  ])("%s finds nothing", async (path) => {
    const answer = await sendRaw(
      store.port,
      [`GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`],
      "wait",
    );
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
  });

  test("that is rightly signed is a name like any other", async () => {
    const url = await store.client.signatureUrlV4("PUT", 60, undefined, "../../escaped");
    const encoded = { url: store.url, method: "PUT", headers: {} };
    const head = rawHead(encoded, { "content-length": "1", connection: "close" }).replace(
      "PUT / ",
      `PUT /..%2F..%2Fescaped${new URL(url).search} `,
    );
    expect(await sendRaw(store.port, [head, "x"], "wait")).toMatch(/^HTTP\/1.1 200 /);
    const { objects } = await store.client.listV2({ prefix: ".." });
    expect(objects.map(({ name }) => name)).toEqual(["../../escaped"]);
    expect(readdirSync(store.dataDir).toSorted()).toEqual(expect.arrayContaining(["files", "index.sqlite"]));
    for (const folder of [store.dataDir, dirname(store.dataDir), dirname(dirname(store.dataDir))]) {
      expect(existsSync(join(folder, "escaped"))).toBe(false);
    }
  });
});
