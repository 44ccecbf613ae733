import { connect } from "node:net";

import { createLog } from "@flick/platform/log.ts";
import { Redis } from "@upstash/redis";

import { createUpstashFront, type UpstashFront } from "./upstash-front.ts";

export const token = "known-to-every-test";

export interface TestFront extends UpstashFront {
  client: Redis;
  /** A request with the token; `path` begins with a slash, and a body that is no string is sent as JSON. */
  call(path: string, options?: CallOptions): Promise<{ status: number; text: string; json: unknown }>;
  /** What it logged, one line of JSON each. */
  logged: string[];
}

export interface CallOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

/** A front of its own on a free port. */
export function startTestFront(redisUrl: string, port = 0): TestFront {
  const logged: string[] = [];
  const log = createLog({ program: "upstash-front", write: (line) => void logged.push(line) });
  const front = createUpstashFront({ redisUrl, port, token, log });
  return {
    ...front,
    client: createClient(front.url),
    logged,
    async call(path, { method, headers, body } = {}) {
      const response = await fetch(front.url + path, {
        method: method ?? (body === undefined ? "GET" : "POST"),
        headers: { authorization: `Bearer ${token}`, ...headers },
        ...(body === undefined ? {} : { body: toBody(body) }),
      });
      const text = await response.text();
      return { status: response.status, text, json: text === "" ? null : (JSON.parse(text) as unknown) };
    },
  };
}

/** The client that products use, but for its repeated tries: a test wants to see the first answer. */
export function createClient(url: string, options: { token?: string; responseEncoding?: false } = {}): Redis {
  return new Redis({ url, token, enableTelemetry: false, retry: false, ...options });
}

/** Sends bytes and resolves with all that comes back until the other side closes, or within 2 s. */
export function sendRaw(url: string, bytes: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let received = "";
  const socket = connect(Number(new URL(url).port), "127.0.0.1", () => socket.write(bytes));
  socket.setTimeout(2000, () => socket.destroy());
  socket.on("data", (chunk) => (received += chunk.toString()));
  socket.on("error", () => {});
  socket.on("close", () => resolve(received));
  return promise;
}

function toBody(body: unknown): string | Uint8Array<ArrayBuffer> {
  return typeof body === "string" || body instanceof Uint8Array
    ? (body as string | Uint8Array<ArrayBuffer>)
    : JSON.stringify(body);
}
