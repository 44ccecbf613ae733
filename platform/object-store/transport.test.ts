import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";

import type { OssStore } from "../../dev/oss-store/oss-store.ts";
import { createObjectStore } from "./ali-oss.ts";
import { type ObjectStore, ObjectTooLarge } from "./object-store.ts";
import { credentials, endless, failure, startOssStore, text } from "./testing.ts";

const quick = { answerMs: 600, stallMs: 600 };

let folder: string;
let server: OssStore;
/** It gives up soon. */
let store: ObjectStore;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "transport-"));
  server = startOssStore(join(folder, "data"));
  store = createObjectStore({ endpoint: server.url, ...credentials }, quick);
});

afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

describe("an upload", () => {
  test("whose stream gives nothing for the stall time fails", async () => {
    const stream = new PassThrough();
    stream.write("beginning");
    const { error, ms } = await failure(store.put("stalled", stream, text));
    expect(error.message).toContain("nothing moved for 0.6 s");
    expect(ms).toBeLessThan(4000);
    expect(await store.head("stalled")).toBeNull();
  });

  test("that is slow but keeps moving is stored", async () => {
    const drops = async function* () {
      for (let drop = 0; drop < 8; drop++) {
        await Bun.sleep(150);
        yield Buffer.from(`${drop}`);
      }
    };
    await store.put("slow", Readable.from(drops()), text);
    expect(await store.head("slow")).toMatchObject({ size: 8 });
  });

  test("of a file that fails leaves the file closed", async () => {
    const path = join(folder, "upload");
    writeFileSync(path, Buffer.alloc(1_000_000));
    const nobody = createObjectStore({ endpoint: "http://localhost:1", ...credentials }, quick);
    await failure(nobody.put("a", path, text));
    await Bun.sleep(50);
    expect(openFiles()).not.toContain(path);
  });
});

describe("a download", () => {
  const path = () => join(folder, "download");

  test("that is larger than allowed is refused and removed", async () => {
    await store.put("large", Readable.from([Buffer.alloc(1001)]), text);
    const { error } = await failure(store.getFile("large", path(), { maxBytes: 1000 }));
    expect(error).toBeInstanceOf(ObjectTooLarge);
    expect(error.message).toContain("1000 bytes");
    expect(existsSync(path())).toBe(false);
    await store.getFile("large", path(), { maxBytes: 1001 });
  });

  test("that announces more than allowed is refused before its bytes come", async () => {
    await withServer(
      (socket) => answer(socket, "content-length: 5000", [], 0),
      async (url) => {
        expect((await failure(getFrom(url, { maxBytes: 4999 }))).error).toBeInstanceOf(ObjectTooLarge);
      },
    );
    expect(existsSync(path())).toBe(false);
  });

  test("that grows larger than allowed without saying so is refused and removed", async () => {
    await withServer(
      (socket) => answer(socket, "transfer-encoding: chunked", ["400\r\n", "x".repeat(1024), "\r\n"], 5),
      async (url) => {
        const { error } = await failure(getFrom(url, { maxBytes: 2000 }));
        expect(error).toBeInstanceOf(ObjectTooLarge);
      },
    );
    expect(existsSync(path())).toBe(false);
  });

  test("that is cut off fails and is removed", async () => {
    await withServer(
      (socket) => {
        answer(socket, "content-length: 5000", ["x".repeat(1000)], 1);
        socket.end();
      },
      async (url) => {
        expect((await failure(getFrom(url, { maxBytes: 10_000 }))).error.message).toContain("get some/object");
      },
    );
    expect(existsSync(path())).toBe(false);
  });

  test("that stalls fails after the stall time and is removed", async () => {
    await withServer(
      (socket) => answer(socket, "content-length: 5000", ["x".repeat(1000)], 1),
      async (url) => {
        const { error, ms } = await failure(getFrom(url, { maxBytes: 10_000 }));
        expect(error.message).toContain("nothing moved for 0.6 s");
        expect(ms).toBeLessThan(4000);
      },
    );
    expect(existsSync(path())).toBe(false);
  });

  test("that is aborted throws the reason and is removed", async () => {
    await withServer(
      (socket) => answer(socket, "content-length: 5000", ["x".repeat(1000)], 1),
      async (url) => {
        const controller = new AbortController();
        const reason = new Error("enough");
        setTimeout(() => controller.abort(reason), 100);
        expect((await failure(getFrom(url, { maxBytes: 10_000, signal: controller.signal }))).error).toBe(reason);
      },
    );
    expect(existsSync(path())).toBe(false);
  });

  test("to a place that cannot be written says why", async () => {
    await store.put("there", Readable.from([Buffer.from("x")]), text);
    const { error } = await failure(store.getFile("there", join(folder, "no", "such", "folder"), { maxBytes: 10 }));
    expect(error.message).toContain("ENOENT");
  });

  const getFrom = (endpoint: string, options: { maxBytes: number; signal?: AbortSignal }) =>
    createObjectStore({ endpoint, ...credentials }, quick).getFile("some/object", path(), options);
});

describe("a store that does not answer", () => {
  test("is given up after the answer time", async () => {
    await withServer(
      (socket) => socket.pause(),
      async (endpoint) => {
        const deaf = createObjectStore({ endpoint, ...credentials }, quick);
        const calls = [deaf.head("a"), deaf.delete("a"), deaf.list("a"), deaf.put("a", endless(), text)];
        for (const { error, ms } of await Promise.all(calls.map(failure))) {
          expect(error.message).toContain("nothing moved for 0.6 s");
          expect(ms).toBeLessThan(4000);
        }
      },
    );
  });

  test("is named when it cannot be reached", async () => {
    const nobody = createObjectStore({ endpoint: "http://localhost:1", ...credentials });
    const stream = endless();
    expect((await failure(nobody.put("a", stream, text))).error.message).toMatch(/put a: .*(refused|connect)/i);
    expect(stream.destroyed).toBe(true);
    expect((await failure(nobody.head("a"))).error.message).toMatch(/head a: .*(refused|connect)/i);
  });

  test("is not believed when it answers something else than OSS", async () => {
    await withServer(
      (socket) => socket.end("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot <xml>"),
      async (endpoint) => {
        const odd = createObjectStore({ endpoint, ...credentials }, quick);
        expect((await failure(odd.list(""))).error.message).toContain("list");
        expect((await failure(odd.head("a"))).error.message).toContain("502");
      },
    );
  });
});

/** Where this process's descriptors point; nothing where there is no /proc. */
function openFiles(): string[] {
  if (!existsSync("/proc/self/fd")) return [];
  return readdirSync("/proc/self/fd").flatMap((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`);
    } catch {
      return [];
    }
  });
}

function answer(socket: Socket, header: string, pieces: string[], times: number): void {
  socket.write(`HTTP/1.1 200 OK\r\n${header}\r\n\r\n`);
  for (let time = 0; time < times; time++) for (const piece of pieces) socket.write(piece);
}

/** A server that does to each connection, after its request's first bytes, what it is told. */
async function withServer(serve: (socket: Socket) => void, use: (url: string) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>();
  const badServer: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => serve(socket));
  });
  await new Promise<void>((resolve) => badServer.listen(0, "127.0.0.1", resolve));
  const address = badServer.address();
  try {
    if (address === null || typeof address === "string") throw new TypeError("a TCP server has a port");
    await use(`http://localhost:${address.port}`);
  } finally {
    for (const socket of sockets) socket.destroy();
    badServer.close();
  }
}
