import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";

import { createClient, outcome, startTestStore, type TestStore } from "./testing.ts";

let store: TestStore;

beforeAll(() => {
  store = startTestStore();
});

afterAll(() => store.remove());

const minPart = 100 * 1024;
const md5 = (...bytes: Buffer[]) => createHash("md5").update(Buffer.concat(bytes)).digest();

async function begin(key: string): Promise<string> {
  return (await store.client.initMultipartUpload(key, { mime: "video/mp4" })).uploadId;
}

/** Uploads a part as a browser would, by a URL that was signed for it; `change` makes something else of the request. */
async function putPart(
  key: string,
  uploadId: string,
  number: number,
  bytes: Buffer,
  change: { expires?: number; body?: Buffer; headers?: Record<string, string>; query?: Record<string, string> } = {},
): Promise<Response> {
  const headers = { "content-length": String(bytes.length), "content-type": "video/mp4" };
  const queries = { partNumber: String(number), uploadId };
  const signed = await store.client.signatureUrlV4("PUT", change.expires ?? 60, { headers, queries }, key, [
    "content-length",
  ]);
  const url = new URL(signed);
  for (const [name, value] of Object.entries(change.query ?? {})) url.searchParams.set(name, value);
  return fetch(url, {
    method: "PUT",
    body: change.body ?? bytes,
    headers: { "content-type": "video/mp4", ...change.headers },
  });
}

/** Completes with what is given, as it is: ali-oss would sort it first. */
async function complete(key: string, uploadId: string, parts: [number: number, etag: string][]): Promise<string> {
  const url = await store.client.signatureUrlV4("POST", 60, { queries: { uploadId } }, key);
  const list = parts.map(([number, etag]) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`);
  const body = `<CompleteMultipartUpload>${list.join("")}</CompleteMultipartUpload>`;
  return outcome(await fetch(url, { method: "POST", body: Buffer.from(body) }));
}

const numbers = async (key: string, uploadId: string) => {
  const { parts } = await store.client.listParts(key, uploadId);
  return [parts].flat().map((part) => Number((part as unknown as { PartNumber: string }).PartNumber));
};

test("parts that come in any order become one object, which is read by ranges across them", async () => {
  const parts = [randomBytes(minPart), randomBytes(minPart + 1), randomBytes(7)];
  const uploadId = await begin("whole.mp4");
  const etags: [number, string][] = [];
  for (const number of [3, 1, 2]) {
    const bytes = parts[number - 1] ?? Buffer.alloc(0);
    const response = await putPart("whole.mp4", uploadId, number, bytes);
    expect(response.headers.get("etag")).toBe(`"${md5(bytes).toString("hex").toUpperCase()}"`);
    etags.push([number, response.headers.get("etag") ?? ""]);
  }
  expect(await numbers("whole.mp4", uploadId)).toEqual([1, 2, 3]);
  expect(await store.client.head("whole.mp4").catch((error: Error) => error.name)).toBe("NoSuchKeyError");
  expect(
    await complete(
      "whole.mp4",
      uploadId,
      etags.toSorted(([one], [other]) => one - other),
    ),
  ).toBe("200");

  const whole = Buffer.concat(parts);
  const { content, res } = await store.client.get("whole.mp4");
  expect(whole.equals(content as Buffer)).toBe(true);
  const digest = md5(...parts.map((part) => md5(part)))
    .toString("hex")
    .toUpperCase();
  expect(res.headers).toMatchObject({ etag: `"${digest}-3"`, "content-type": "video/mp4" });
  expect(res.headers).toMatchObject({ "content-length": String(whole.length), "x-oss-object-type": "Multipart" });
  const url = await store.client.signatureUrlV4("GET", 60, undefined, "whole.mp4");
  for (const [from, to] of [
    [0, 9],
    [minPart - 5, minPart + 5],
    [minPart - 5, 2 * minPart + 5],
    [2 * minPart + 1, 2 * minPart + 7],
  ]) {
    const response = await fetch(url, { headers: { range: `bytes=${from}-${to}` } });
    expect(response.status).toBe(206);
    expect(response.headers.get("content-length")).toBe(String((to ?? 0) - (from ?? 0) + 1));
    expect(whole.subarray(from, (to ?? 0) + 1).equals(Buffer.from(await response.arrayBuffer()))).toBe(true);
  }
});

test("a part that comes again replaces the first, and all files are gone with the object", async () => {
  const before = store.files().length;
  const uploadId = await begin("again");
  await putPart("again", uploadId, 1, Buffer.from("first"));
  const response = await putPart("again", uploadId, 1, Buffer.from("other"));
  expect(await complete("again", uploadId, [[1, response.headers.get("etag") ?? ""]])).toBe("200");
  expect(String((await store.client.get("again")).content)).toBe("other");
  await store.client.delete("again");
  const { dataDir } = store;
  await store.stop();
  store = startTestStore({ dataDir });
  expect(store.files().length).toBeLessThanOrEqual(before);
});

test("an upload and its parts outlast a restart", async () => {
  const uploadId = await begin("lasting");
  const etag = (await putPart("lasting", uploadId, 1, Buffer.from("here"))).headers.get("etag") ?? "";
  const { dataDir } = store;
  await store.stop();
  store = startTestStore({ dataDir });
  expect(await numbers("lasting", uploadId)).toEqual([1]);
  expect(await complete("lasting", uploadId, [[1, etag]])).toBe("200");
  expect(String((await store.client.get("lasting")).content)).toBe("here");
});

describe("a part is refused", () => {
  test.each([
    ["with another number than it was signed for", { query: { partNumber: "2" } }, "403 SignatureDoesNotMatch"],
    ["for another upload", { query: { uploadId: "0".repeat(32) } }, "403 SignatureDoesNotMatch"],
    ["with more bytes", { body: Buffer.from("five bytes") }, "403 SignatureDoesNotMatch"],
    ["with fewer bytes", { body: Buffer.from("a") }, "403 SignatureDoesNotMatch"],
    ["of another type", { headers: { "content-type": "text/html" } }, "403 SignatureDoesNotMatch"],
    [
      "with a digest that is not its own",
      { headers: { "content-md5": md5().toString("base64") } },
      "403 SignatureDoesNotMatch",
    ],
  ])("%s", async (_what, change, expected) => {
    const uploadId = await begin("bound");
    expect(await outcome(await putPart("bound", uploadId, 1, Buffer.from("5byte"), change))).toBe(expected);
    expect(await numbers("bound", uploadId)).toEqual([]);
  });

  test("after its URL has expired", async () => {
    const uploadId = await begin("late");
    const headers = { "content-length": "1", "content-type": "video/mp4" };
    const queries = { partNumber: "1", uploadId };
    const url = await store.client.signatureUrlV4("PUT", 1, { headers, queries }, "late", ["content-length"]);
    await Bun.sleep(2_100);
    const response = await fetch(url, { method: "PUT", body: "x", headers: { "content-type": "video/mp4" } });
    expect(await outcome(response)).toBe("403 AccessDenied");
  });

  test.each([0, 10_001])("with the number %d", async (number) => {
    const uploadId = await begin("numbered");
    expect(await outcome(await putPart("numbered", uploadId, number, Buffer.from("x")))).toBe("400 InvalidArgument");
  });

  test("of an upload to another key, or one that has ended", async () => {
    const uploadId = await begin("one");
    expect(await outcome(await putPart("other", uploadId, 1, Buffer.from("x")))).toBe("404 NoSuchUpload");
    await store.client.abortMultipartUpload("one", uploadId);
    expect(await outcome(await putPart("one", uploadId, 1, Buffer.from("x")))).toBe("404 NoSuchUpload");
  });

  test("without a signature", async () => {
    const uploadId = await begin("anonymous");
    const url = `${store.url}/anonymous?partNumber=1&uploadId=${uploadId}`;
    expect(await outcome(await fetch(url, { method: "PUT", body: "x" }))).toBe("403 AccessDenied");
    expect(await outcome(await fetch(`${store.url}/anonymous?uploadId=${uploadId}`))).toBe("403 AccessDenied");
    expect(await outcome(await fetch(`${store.url}/?uploads`))).toBe("403 AccessDenied");
  });
});

describe("completing is refused", () => {
  async function twoParts(firstBytes: number): Promise<{ uploadId: string; etags: [string, string] }> {
    const uploadId = await begin("refused");
    const one = await putPart("refused", uploadId, 1, Buffer.alloc(firstBytes));
    const two = await putPart("refused", uploadId, 2, Buffer.alloc(1));
    return { uploadId, etags: [one.headers.get("etag") ?? "", two.headers.get("etag") ?? ""] };
  }

  test("when a part but the last is smaller than 100 KiB", async () => {
    const { uploadId, etags } = await twoParts(minPart - 1);
    expect(
      await complete("refused", uploadId, [
        [1, etags[0]],
        [2, etags[1]],
      ]),
    ).toBe("400 EntityTooSmall");
    expect(await numbers("refused", uploadId)).toEqual([1, 2]);
  });

  test("when a part is missing or has another digest, and when they are out of order or none", async () => {
    const { uploadId, etags } = await twoParts(minPart);
    const [one, two] = etags;
    const attempt = (parts: [number, string][]) => complete("refused", uploadId, parts);
    expect(
      await attempt([
        [1, one],
        [3, two],
      ]),
    ).toBe("400 InvalidPart");
    expect(
      await attempt([
        [1, two],
        [2, two],
      ]),
    ).toBe("400 InvalidPart");
    expect(
      await attempt([
        [2, two],
        [1, one],
      ]),
    ).toBe("400 InvalidPartOrder");
    expect(
      await attempt([
        [1, one],
        [1, one],
      ]),
    ).toBe("400 InvalidPartOrder");
    expect(await attempt([])).toBe("400 MalformedXML");
    expect(
      await attempt([
        [1, one],
        [2, two],
      ]),
    ).toBe("200");
    expect(
      await attempt([
        [1, one],
        [2, two],
      ]),
    ).toBe("404 NoSuchUpload");
  });
});

test("open uploads are listed by key and page; an aborted one is gone with its files", async () => {
  const before = store.files().length;
  const ids = [await begin("listed/a"), await begin("listed/b"), await begin("listed/b")];
  await putPart("listed/a", ids[0] ?? "", 1, Buffer.from("x"));
  const first = await store.client.listUploads({ prefix: "listed/", "max-uploads": 2 });
  expect(first.uploads.map(({ name }) => name)).toEqual(["listed/a", "listed/b"]);
  expect(first.isTruncated).toBe(true);
  const rest = await store.client.listUploads({
    prefix: "listed/",
    "key-marker": first.nextKeyMarker,
    "upload-id-marker": first.nextUploadIdMarker,
  });
  expect([...first.uploads, ...rest.uploads].map(({ uploadId }) => uploadId).toSorted()).toEqual(ids.toSorted());
  await store.client.abortMultipartUpload("listed/a", ids[0] ?? "");
  expect((await store.client.listUploads({ prefix: "listed/a" })).uploads).toEqual([]);
  expect(await store.client.listParts("listed/a", ids[0] ?? "").catch((error: Error) => error.name)).toBe(
    "NoSuchUploadError",
  );
  const { dataDir } = store;
  await store.stop();
  store = startTestStore({ dataDir });
  expect(store.files().length).toBeLessThanOrEqual(before);
});

test("a browser of another site may put parts and read their digests", async () => {
  const preflight = await fetch(`${store.url}/any?partNumber=1`, {
    method: "OPTIONS",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "PUT",
      "access-control-request-headers": "content-type",
    },
  });
  expect(preflight.status).toBe(200);
  expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
  expect(preflight.headers.get("access-control-allow-methods")).toContain("PUT");
  const uploadId = await begin("cors");
  const response = await putPart("cors", uploadId, 1, Buffer.from("x"), { headers: { origin: "https://app.example" } });
  expect(response.headers.get("access-control-allow-origin")).toBe("*");
  expect(response.headers.get("access-control-expose-headers")).toContain("etag");
});

test("another secret signs nothing", async () => {
  const stranger = createClient(store.url, { accessKeySecret: "guess" });
  const uploadId = await begin("stolen");
  const headers = { "content-length": "1", "content-type": "video/mp4" };
  const queries = { partNumber: "1", uploadId };
  const url = await stranger.signatureUrlV4("PUT", 60, { headers, queries }, "stolen", ["content-length"]);
  const response = await fetch(url, { method: "PUT", body: "x", headers: { "content-type": "video/mp4" } });
  expect(await outcome(response)).toBe("403 SignatureDoesNotMatch");
});
