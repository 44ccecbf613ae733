import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";

import { outcome, rawHead, send, sendRaw, signPut, startTestStore, type TestStore } from "./testing.ts";

let store: TestStore;

beforeAll(() => {
  store = startTestStore({ maxObjectBytes: 5_000_000 });
});

afterAll(() => store.remove());

const md5 = (bytes: string | Buffer) => createHash("md5").update(bytes).digest();

async function exists(key: string): Promise<boolean> {
  const { objects } = await store.client.listV2({ prefix: key, "max-keys": 1000 });
  return objects.some(({ name }) => name === key);
}

/** Nothing but the files of before is there, once a failed upload had time to be cleared away. */
async function expectFiles(before: number): Promise<void> {
  for (let attempt = 0; store.files().length > before && attempt < 500; attempt++) await Bun.sleep(20);
  expect(store.files().length).toBeLessThanOrEqual(before);
}

async function expectNothingOf(key: string, filesBefore: number): Promise<void> {
  await expectFiles(filesBefore);
  expect(await exists(key)).toBe(false);
}

test("keeps bytes, type, cache rules and user metadata of an object", async () => {
  const headers = { "Cache-Control": "public, max-age=9", "x-oss-meta-by": "me", "Content-Disposition": "inline" };
  const response = await send(await signPut(store.url, "kept.txt", "kept", headers));
  expect(response.headers.get("etag")).toBe(`"${md5("kept").toString("hex").toUpperCase()}"`);
  expect(response.headers.get("x-oss-request-id")).toMatch(/^[0-9A-F]{24}$/);
  const { content, res } = await store.client.get("kept.txt");
  expect(String(content)).toBe("kept");
  expect(res.headers).toMatchObject({
    "content-type": "text/plain",
    "cache-control": "public, max-age=9",
    "content-disposition": "inline",
    "x-oss-meta-by": "me",
    etag: response.headers.get("etag"),
  });
});

test("stores an empty object and an object without a type", async () => {
  expect(await outcome(await send({ ...(await signPut(store.url, "empty", "")), body: new Uint8Array() }))).toBe("200");
  const { res } = await store.client.head("empty");
  expect(res.headers).toMatchObject({ "content-length": "0" });
  const { content } = await store.client.get("empty");
  expect(content?.length ?? 0).toBe(0);
  await store.client.put("untyped", Buffer.from("x"));
  expect((await store.client.head("untyped")).res.headers).toMatchObject({
    "content-type": "application/octet-stream",
  });
});

test("stores a chunked body of 4 MB unchanged", async () => {
  const bytes = randomBytes(4_000_000);
  const body = new Blob([bytes]).stream();
  expect(await outcome(await send({ ...(await signPut(store.url, "chunked", "")), body }))).toBe("200");
  const { content } = await store.client.get("chunked");
  expect(bytes.equals(content as Buffer)).toBe(true);
});

test("replaces an object, and its metadata with it", async () => {
  await send(
    await signPut(store.url, "twice", "one", { "Cache-Control": "no-cache", "x-oss-object-acl": "public-read" }),
  );
  await send(await signPut(store.url, "twice", "second"));
  const { content, res } = await store.client.get("twice");
  expect(String(content)).toBe("second");
  expect(res.headers).not.toHaveProperty("cache-control");
  expect((await fetch(`${store.url}/twice`)).status).toBe(403);
});

test("bytes of replaced and deleted objects are gone after a stop", async () => {
  const other = startTestStore();
  for (const body of ["one", "two", "three"]) await other.client.put("replaced", Buffer.from(body));
  await other.client.put("deleted", Buffer.from("x"));
  await other.client.delete("deleted");
  await other.stop();
  expect(other.files().length).toBe(1);
  await other.remove();
});

test("leaves nothing of a body that was cut off", async () => {
  const filesBefore = store.files().length;
  const put = await signPut(store.url, "cut", "");
  const sized = rawHead(put, { "content-length": "100" });
  const chunked = rawHead(put, { "transfer-encoding": "chunked" });
  for (const end of ["finish", "reset"] as const) {
    expect(await sendRaw(store.port, [sized, "some bytes"], end)).not.toContain("200 OK");
    expect(await sendRaw(store.port, [chunked, "5\r\nhello\r\n"], end)).not.toContain("200 OK");
    expect(await sendRaw(store.port, [chunked, "5\r\nhel"], end)).not.toContain("200 OK");
  }
  expect(await sendRaw(store.port, [chunked, "5\r\nhello\r\n", "not a chunk\r\n"], "wait")).not.toContain("200 OK");
  await expectNothingOf("cut", filesBefore);
});

test("keeps the old object when its replacement is cut off", async () => {
  await send(await signPut(store.url, "kept-old", "old"));
  const filesBefore = store.files().length;
  const head = rawHead(await signPut(store.url, "kept-old", ""), { "content-length": "100" });
  await sendRaw(store.port, [head, "new and unfinished"], "reset");
  await expectFiles(filesBefore);
  expect(String((await store.client.get("kept-old")).content)).toBe("old");
});

test("refuses an object over the limit before reading a body that says so", async () => {
  const filesBefore = store.files().length;
  const head = rawHead(await signPut(store.url, "huge", ""), { "content-length": String(6 * 2 ** 30) });
  const answer = await sendRaw(store.port, [head], "wait");
  expect(answer).toMatch(/^HTTP\/1.1 400 [^]*<Code>EntityTooLarge</);
  await expectNothingOf("huge", filesBefore);
});

test("refuses a chunked body when it passes the limit", async () => {
  const filesBefore = store.files().length;
  const body = new Blob([Buffer.alloc(6_000_000)]).stream();
  expect(await outcome(await send({ ...(await signPut(store.url, "huge", "")), body }))).toBe("400 EntityTooLarge");
  await expectNothingOf("huge", filesBefore);
});

test("compares the body with its Content-MD5", async () => {
  const filesBefore = store.files().length;
  const put = (key: string, digest: string) => signPut(store.url, key, "body", { "Content-MD5": digest });
  const good = md5("body").toString("base64");
  expect(await outcome(await send(await put("digest", md5("other").toString("base64"))))).toBe("400 InvalidDigest");
  expect(await outcome(await send(await put("digest", "not a digest")))).toBe("400 InvalidDigest");
  await expectNothingOf("digest", filesBefore);
  expect(await outcome(await send(await put("digest", good)))).toBe("200");
});

test("says what it does not have instead of ignoring it", async () => {
  const put = (headers: object) => signPut(store.url, "asked", "x", headers);
  expect(await outcome(await send(await put({ "x-oss-forbid-overwrite": "true" })))).toBe("501 NotImplemented");
  expect(await outcome(await send(await put({ "x-oss-object-acl": "public-read-write" })))).toBe("400 InvalidArgument");
  expect(store.client.getACL("asked")).rejects.toMatchObject({ code: "NotImplemented" });
  expect(store.client.putSymlink("asked-link", "asked", {})).rejects.toMatchObject({ code: "NotImplemented" });
  expect(await exists("asked")).toBe(false);
});

test("gives each reader the bytes, type and digest of one writer, however many write the same key at once", async () => {
  const writers = Array.from({ length: 20 }, (_, index) => ({
    body: `${index}`.repeat(50_000 + index),
    type: `test/${index}`,
  }));
  const readOnce = async () => {
    const { content, res } = await store.client.get("contended");
    const headers = new Headers(res.headers as Record<string, string>);
    const writer = writers.find(({ type }) => type === headers.get("content-type"));
    expect(String(content) === writer?.body).toBe(true);
    expect(headers.get("etag")).toBe(
      `"${md5(writer?.body ?? "")
        .toString("hex")
        .toUpperCase()}"`,
    );
  };
  const write = ({ body, type }: (typeof writers)[number]) =>
    store.client.put("contended", Buffer.from(body), { mime: type });
  await write(writers[0] ?? { body: "", type: "" });
  await Promise.all(writers.flatMap((writer, index) => (index % 2 ? [write(writer), readOnce()] : [write(writer)])));
  await readOnce();
  const { objects } = await store.client.listV2({ prefix: "contended", "max-keys": 10 });
  expect(objects.length).toBe(1);
});
