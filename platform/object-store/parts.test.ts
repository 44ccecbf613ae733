import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";

import type { OssStore } from "../../dev/oss-store/oss-store.ts";
import { createObjectStore } from "./ali-oss.ts";
import { ObjectNotFound, type ObjectStore, type OpenUpload } from "./object-store.ts";
import { credentials, failure, startOssStore } from "./testing.ts";

const contentType = "video/mp4";
const firstSize = 100 * 1024;
let folder: string;
let server: OssStore;
let store: ObjectStore;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "flick-parts-"));
  server = startOssStore(folder);
  store = createObjectStore({ endpoint: server.url, ...credentials });
});

afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

async function put(key: string, uploadId: string, number: number, body: string, size = body.length): Promise<number> {
  const url = await store.partUrl(key, uploadId, { number, size, contentType }, 60);
  return (await fetch(url, { method: "PUT", body, headers: { "content-type": contentType } })).status;
}

test("parts put under their URLs become an object", async () => {
  const key = "中文/parts + 1.mp4";
  const uploadId = await store.beginParts(key, { contentType });
  expect(await store.listParts(key, uploadId)).toEqual([]);
  expect(await put(key, uploadId, 2, "the end")).toBe(200);
  expect((await store.listParts(key, uploadId))?.map(({ number, size }) => [number, size])).toEqual([[2, 7]]);
  expect(await put(key, uploadId, 1, "x".repeat(firstSize))).toBe(200);
  const parts = (await store.listParts(key, uploadId)) ?? [];
  expect(parts.map(({ number, size }) => [number, size])).toEqual([
    [1, firstSize],
    [2, 7],
  ]);
  expect(await store.completeParts(key, uploadId, parts)).toBe(true);
  expect(await store.head(key)).toEqual({ size: firstSize + 7, contentType });
  expect(await store.listParts(key, uploadId)).toBeNull();
  expect(await store.completeParts(key, uploadId, parts)).toBe(false);
});

test("more parts than a page of their list are all there", async () => {
  const uploadId = await store.beginParts("many", { contentType });
  const all = Array.from({ length: 1001 }, (_, index) => index + 1);
  for (let at = 0; at < all.length; at += 100) {
    const statuses = await Promise.all(all.slice(at, at + 100).map((number) => put("many", uploadId, number, "x")));
    expect(new Set(statuses)).toEqual(new Set([200]));
  }
  expect((await store.listParts("many", uploadId))?.map(({ number }) => number)).toEqual(all);
  await store.abortParts("many", uploadId);
}, 60_000);

test("a URL is good for one part of one size", async () => {
  const uploadId = await store.beginParts("bound", { contentType });
  expect(await put("bound", uploadId, 1, "x".repeat(11), 10)).toBe(403);
  expect(await put("bound", uploadId, 1, "x".repeat(9), 10)).toBe(403);
  expect(await store.listParts("bound", uploadId)).toEqual([]);
});

test("parts that do not fit are a failure, and the upload stays", async () => {
  const uploadId = await store.beginParts("small", { contentType });
  await put("small", uploadId, 1, "too small");
  await put("small", uploadId, 2, "the end");
  const parts = (await store.listParts("small", uploadId)) ?? [];
  const { error } = await failure(store.completeParts("small", uploadId, parts));
  expect(error.message).toContain("EntityTooSmall");
  expect(await store.listParts("small", uploadId)).toEqual(parts);
});

test("uploads are found page by page until they are aborted, which may be repeated", async () => {
  const begun: [string, string][] = [];
  for (const key of ["open/a", "open/b", "open/b"]) begun.push([key, await store.beginParts(key, { contentType })]);
  const found = await store.listUploads("open/");
  expect(found.map(({ key, uploadId }) => `${key} ${uploadId}`).toSorted()).toEqual(
    begun.map((one) => one.join(" ")).toSorted(),
  );
  expect(Math.abs((found[0]?.begunAt ?? 0) - Date.now())).toBeLessThan(60_000);
  expect(await store.listUploads("open/", found[0] as OpenUpload)).toEqual(found.slice(1));
  for (const [key, uploadId] of [...begun, ...begun]) await store.abortParts(key, uploadId);
  expect(await store.listUploads("open/")).toEqual([]);
});

test("the first bytes of an object can be read alone", async () => {
  const body = "0123456789";
  await store.put("start", Readable.from([Buffer.from(body)]), { contentType });
  await store.put("empty", Readable.from([]), { contentType });
  expect(Buffer.from(await store.readStart("start", 4)).toString()).toBe("0123");
  expect(Buffer.from(await store.readStart("start", 99)).toString()).toBe(body);
  expect(await store.readStart("empty", 4)).toHaveLength(0);
  expect((await failure(store.readStart("missing", 4))).error).toBeInstanceOf(ObjectNotFound);
});
