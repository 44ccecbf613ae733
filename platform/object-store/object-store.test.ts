import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";

import type { OssStore } from "../../dev/oss-store/oss-store.ts";
import { createObjectStore } from "./ali-oss.ts";
import { ObjectNotFound, type ObjectStore } from "./object-store.ts";
import { credentials, endless, failure, startOssStore, text } from "./testing.ts";

let folder: string;
let server: OssStore;
let store: ObjectStore;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "object-store-"));
  server = startOssStore(join(folder, "data"));
  store = createObjectStore({ endpoint: server.url, ...credentials });
});

afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

async function read(key: string): Promise<string> {
  const path = join(folder, "read");
  await store.getFile(key, path, { maxBytes: 100_000_000 });
  return readFileSync(path, "utf8");
}

/** How many files hold bytes of objects. */
function storedFiles(): number {
  return readdirSync(join(folder, "data", "files")).length;
}

describe("storing and reading", () => {
  test("a file comes back with its size and type", async () => {
    const path = join(folder, "clip.bin");
    const bytes = randomBytes(3_000_000);
    writeFileSync(path, bytes);
    await store.put("raw/clip.bin", path, { contentType: "video/mp4" });
    expect(await store.head("raw/clip.bin")).toEqual({ size: 3_000_000, contentType: "video/mp4" });
    const copy = join(folder, "copy.bin");
    await store.getFile("raw/clip.bin", copy, { maxBytes: 3_000_000 });
    expect(readFileSync(copy).equals(bytes)).toBe(true);
  });

  test("a stream of unknown length comes back whole", async () => {
    const chunks = Array.from({ length: 200 }, (_, index) => randomBytes(10_000 + index).toString("hex"));
    await store.put("streamed", Readable.from(chunks.map((chunk) => Buffer.from(chunk))), text);
    expect((await read("streamed")) === chunks.join("")).toBe(true);
  });

  test("an empty stream and an empty file are empty objects", async () => {
    await store.put("empty-stream", Readable.from([]), text);
    expect(await read("empty-stream")).toBe("");
    writeFileSync(join(folder, "empty"), "");
    await store.put("empty-file", join(folder, "empty"), text);
    expect(await store.head("empty-file")).toEqual({ size: 0, contentType: "text/plain" });
  });

  test("keys of any script and sign come back from every call", async () => {
    for (const key of ["中文/视频 🎬.mp4", "a+b c%20d&e=f?g#h", "quote'(\"!*)"]) {
      await store.put(key, Readable.from([Buffer.from(key)]), { ...text, public: true });
      expect(await read(key)).toBe(key);
      expect((await store.list(key)).map((object) => object.key)).toEqual([key]);
      expect(await (await fetch(store.publicUrl(key))).text()).toBe(key);
      expect(await (await fetch(await store.signedUrl(key, 60))).text()).toBe(key);
      await store.delete(key);
      expect(await store.head(key)).toBeNull();
    }
  });

  test("what is missing is null, ObjectNotFound or no matter", async () => {
    const path = join(folder, "missing");
    expect(await store.head("missing")).toBeNull();
    expect((await failure(store.getFile("missing", path, { maxBytes: 1 }))).error).toBeInstanceOf(ObjectNotFound);
    expect(existsSync(path)).toBe(false);
    await store.delete("missing");
    const { error } = await failure(store.put("from-missing", join(folder, "no-such-file"), text));
    expect(error.message).toContain("ENOENT");
  });

  test("lists keys in order, by prefix and after a key", async () => {
    for (const key of ["list/b", "list/a", "list/c/d", "other"])
      await store.put(key, Readable.from([Buffer.from(key)]), text);
    const listed = await store.list("list/");
    expect(listed.map(({ key, size }) => [key, size])).toEqual([
      ["list/a", 6],
      ["list/b", 6],
      ["list/c/d", 8],
    ]);
    expect(Math.abs((listed[0]?.modifiedAt ?? 0) - Date.now())).toBeLessThan(60_000);
    expect((await store.list("list/", "list/a")).map(({ key }) => key)).toEqual(["list/b", "list/c/d"]);
    expect(await store.list("list/", "list/z")).toEqual([]);
    expect((await store.list("")).length).toBeGreaterThan(3);
  });

  test("keys that would be changed on their way are refused", async () => {
    for (const key of ["", "/a", "\\a", "a/../b", "..", "a/./b", "x".repeat(1024)]) {
      expect((await failure(store.head(key))).error).toBeInstanceOf(TypeError);
      const stream = endless();
      expect((await failure(store.put(key, stream, text))).error).toBeInstanceOf(TypeError);
      expect(stream.destroyed).toBe(true);
    }
    expect(() => store.publicUrl("/a")).toThrow(TypeError);
  });
});

describe("access", () => {
  test("only public objects are read without a signature", async () => {
    await store.put("public", Readable.from([Buffer.from("public")]), {
      ...text,
      public: true,
      cacheControl: "max-age=5",
    });
    await store.put("private", Readable.from([Buffer.from("private")]), text);
    const response = await fetch(store.publicUrl("public"));
    expect([await response.text(), response.headers.get("cache-control")]).toEqual(["public", "max-age=5"]);
    expect((await fetch(store.publicUrl("private"))).status).toBe(403);
  });

  test("a signed URL reads its own object, by ranges too, and nothing else", async () => {
    await store.put("secret/one", Readable.from([Buffer.from("number one")]), text);
    const url = await store.signedUrl("secret/one", 60);
    expect(await (await fetch(url)).text()).toBe("number one");
    expect(await (await fetch(url, { headers: { range: "bytes=0-5" } })).text()).toBe("number");
    expect((await fetch(url.replace("one?", "two?"))).status).toBe(403);
    expect((await fetch(url, { method: "DELETE" })).status).toBe(403);
  });

  test("players are sent to the public host, for signed URLs too", async () => {
    const publicUrl = server.url.replace("localhost", "127.0.0.1");
    const behindCdn = createObjectStore({ endpoint: server.url, publicUrl, ...credentials });
    expect(behindCdn.publicUrl("a/b")).toBe(`${publicUrl}/a/b`);
    await store.put("cdn", Readable.from([Buffer.from("cdn")]), text);
    const url = await behindCdn.signedUrl("cdn", 60);
    expect(url).toStartWith(publicUrl);
    expect(await (await fetch(url)).text()).toBe("cdn");
  });

  test("gateways are sent to a host of their own, else to the public one, to store an object and to delete it", async () => {
    const publicUrl = server.url.replace("localhost", "127.0.0.1");
    const edgeUrl = "https://edge.example";
    const plain = createObjectStore({ endpoint: server.url, publicUrl, ...credentials });
    const apart = createObjectStore({ endpoint: server.url, publicUrl, edgeUrl, ...credentials });
    expect(await apart.putUrl("edge", "text/plain", 60)).toStartWith(`${edgeUrl}/edge?`);
    expect(await apart.deleteUrl("edge", 60)).toStartWith(`${edgeUrl}/edge?`);
    const url = await plain.putUrl("edge", "text/plain", 60);
    expect(url).toStartWith(`${publicUrl}/edge?`);
    const put = (type: string) => fetch(url, { method: "PUT", body: "from afar", headers: { "content-type": type } });
    expect((await put("text/html")).status).toBe(403);
    expect((await put("text/plain")).status).toBe(200);
    expect(await store.head("edge")).toEqual({ size: 9, contentType: "text/plain" });
    expect((await fetch(plain.publicUrl("edge"))).status).toBe(403);
    expect((await fetch(await plain.deleteUrl("edge", 60), { method: "DELETE" })).status).toBe(204);
    expect(await store.head("edge")).toBeNull();
  });

  test("a wrong secret is named, and the stream ends", async () => {
    const stranger = createObjectStore({ endpoint: server.url, ...credentials, accessKeySecret: "guess" });
    const stream = endless();
    const { error, ms } = await failure(stranger.put("stolen", stream, text));
    expect(error.message).toContain("put stolen: SignatureDoesNotMatch");
    expect(error.message).not.toContain("guess");
    expect(ms).toBeLessThan(3000);
    expect(stream.destroyed).toBe(true);
    expect((await failure(stranger.list(""))).error.message).toContain("SignatureDoesNotMatch");
  });
});

describe("an upload that fails leaves nothing:", () => {
  /** Starts an upload that cannot end by itself, lets bytes flow, breaks it. */
  async function broken(breakIt: (stream: Readable) => void, signal?: AbortSignal) {
    const before = storedFiles();
    const stream = endless();
    const result = failure(store.put("broken", stream, { ...text, ...(signal ? { signal } : {}) }));
    while (storedFiles() <= before) await Bun.sleep(5);
    breakIt(stream);
    const broke = performance.now();
    const { error } = await result;
    expect(performance.now() - broke).toBeLessThan(3000);
    expect(stream.destroyed).toBe(true);
    for (let attempt = 0; storedFiles() > before && attempt < 500; attempt++) await Bun.sleep(20);
    expect(storedFiles()).toBeLessThanOrEqual(before);
    expect(await store.head("broken")).toBeNull();
    return error;
  }

  test("a stream that breaks with an error, which is the reason given", async () => {
    const cause = new Error("the client went away");
    const error = await broken((stream) => stream.destroy(cause));
    expect(error.message).toContain("the client went away");
    expect(error.cause).toBe(cause);
  });

  test("a stream that is closed before its end", async () => {
    const error = await broken((stream) => stream.destroy());
    expect(error.message).toContain("remature close");
  });

  test("an abort by the signal, whose reason is thrown", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    expect(await broken(() => controller.abort(reason), controller.signal)).toBe(reason);
  });

  test("an abort while the stream has nothing to give", async () => {
    const stream = new PassThrough();
    stream.write("beginning");
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 100);
    const { error, ms } = await failure(store.put("idle", stream, { ...text, signal: controller.signal }));
    expect(error.name).toBe("AbortError");
    expect(ms).toBeLessThan(3000);
    expect(stream.destroyed).toBe(true);
    expect(await store.head("idle")).toBeNull();
  });

  test("a signal that was aborted before", async () => {
    const stream = endless();
    const { error } = await failure(store.put("late", stream, { ...text, signal: AbortSignal.abort() }));
    expect(error.name).toBe("AbortError");
    expect(stream.destroyed).toBe(true);
    expect(await store.head("late")).toBeNull();
  });

  test("a stream that was over before", async () => {
    const destroyed = endless().destroy();
    expect((await failure(store.put("over", destroyed, text))).error.message).toContain("ended or was closed");
    const ended = Readable.from([Buffer.from("x")]);
    await ended.toArray();
    expect((await failure(store.put("over", ended, text))).error.message).toContain("ended or was closed");
    const failed = endless();
    failed.once("error", () => undefined);
    failed.destroy(new Error("failed before"));
    expect((await failure(store.put("over", failed, text))).error.message).toContain("failed before");
    expect(await store.head("over")).toBeNull();
  });
});
