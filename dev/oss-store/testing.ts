import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";

import { createLog } from "@flick/platform/log.ts";
import OSS from "ali-oss";

import { createOssStore, type OssStore, type OssStoreOptions } from "./oss-store.ts";

export const credentials = {
  bucket: "flick-test",
  region: "oss-cn-hangzhou",
  accessKeyId: "test-key",
  accessKeySecret: "test-secret",
};

export interface TestStore extends OssStore {
  dataDir: string;
  port: number;
  client: OSS;
  /** Names of the files with bytes of objects. */
  files(): string[];
  /** Stops the store and removes its folder. */
  remove(): Promise<void>;
}

/** A store of its own on a free port and in a new folder. */
export function startTestStore(options: Partial<OssStoreOptions> = {}): TestStore {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "oss-store-"));
  const log = createLog({ program: "oss-store", level: "warn" });
  const store = createOssStore({ dataDir, port: 0, log, ...credentials, ...options });
  return {
    ...store,
    dataDir,
    port: Number(new URL(store.url).port),
    client: createClient(store.url),
    files: () => readdirSync(join(dataDir, "files")),
    async remove() {
      await store.stop();
      rmSync(dataDir, { recursive: true });
    },
  };
}

export function createClient(endpoint: string, options: Partial<OSS.Options> = {}): OSS {
  return new OSS({ ...credentials, endpoint, cname: true, authorizationV4: true, ...options });
}

/** A request as it goes over the wire; tests change it before they send it. */
export interface WireRequest {
  url: string;
  method: string;
  headers: Record<string, string>;
  body?: Uint8Array | ReadableStream<Uint8Array>;
}

export function send(request: WireRequest): Promise<Response> {
  return fetch(request.url, { ...request, redirect: "manual" });
}

/** The code in an OSS error, with its status before it: `403 AccessDenied`; the status alone of anything else. */
export async function outcome(response: Response): Promise<string> {
  const code = /<Code>(.*?)<\/Code>/.exec(await response.text())?.[1];
  return [response.status, code].filter((part) => part !== undefined).join(" ");
}

/** What ali-oss would send: signed by it, caught before it leaves. */
export async function signRequest(
  endpoint: string,
  call: (client: OSS) => Promise<unknown>,
  options: Partial<OSS.Options> & { amendTimeSkewed?: number } = {},
): Promise<WireRequest> {
  let caught: WireRequest | undefined;
  const urllib = {
    request(url: string, { method, headers }: { method: string; headers: Record<string, string> }) {
      const { "Transfer-Encoding": _chunked, "User-Agent": _agent, ...rest } = headers;
      caught = { url, method, headers: rest };
      return Promise.reject(new Error("caught"));
    },
  };
  const withTrap: typeof options & { urllib: typeof urllib } = { ...options, urllib };
  await call(createClient(endpoint, withTrap)).catch(() => undefined);
  if (!caught) throw new Error("ali-oss sent nothing");
  return caught;
}

/** A signed PutObject; the body is not part of what is signed. */
export async function signPut(
  endpoint: string,
  key: string,
  body: string,
  headers = {},
  options = {},
): Promise<WireRequest> {
  const put = (client: OSS) => client.put(key, Readable.from([]), { mime: "text/plain", headers });
  return { ...(await signRequest(endpoint, put, options)), body: Buffer.from(body) };
}

/** Sends bytes on a new connection, piece by piece, and ends it in the given way; returns what was answered until then. */
export async function sendRaw(port: number, pieces: string[], end: "finish" | "reset" | "wait"): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let answer = "";
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("data", (data) => (answer += data.toString("latin1")));
  socket.on("error", () => undefined);
  for (const piece of pieces) {
    socket.write(piece);
    await Bun.sleep(20);
  }
  if (end === "finish") socket.end();
  if (end === "reset") socket.resetAndDestroy();
  await Promise.race([closed, Bun.sleep(2000)]);
  socket.destroy();
  return answer;
}

/** The head of a request for {@link sendRaw}. */
export function rawHead({ method, url, headers }: WireRequest, more: Record<string, string>): string {
  const { pathname, search, host } = new URL(url);
  const lines = Object.entries({ host, ...headers, ...more }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${pathname}${search} HTTP/1.1\r\n${lines.join("")}\r\n`;
}
