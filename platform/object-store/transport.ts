import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";

import { ObjectTooLarge } from "./object-store.ts";

/**
 * Carries ali-oss's requests by `fetch` (its `urllib` option). Its own HTTP client counts one timeout over a whole transfer,
 * cannot be aborted once a body is sent, and hides why a stream failed; here a transfer may take its time as long as it moves.
 */
export interface Transport {
  request(url: string, request: TransportRequest): Promise<TransportResponse>;
}

export interface TransportTimeouts {
  /** Milliseconds for the head of an answer to a request without a body. */
  answerMs: number;
  /** Milliseconds for the next byte of a body in either direction, and for the answer after a body. */
  stallMs: number;
}

/** What we give to ali-oss as `ctx` with each call, and get back from it in the request. */
export interface Call {
  signal?: AbortSignal;
  /** A larger answer is not taken. */
  maxBytes?: number;
  /** Why no answer came: ali-oss keeps only a message. */
  failure?: unknown;
  /** Why what was to be sent failed; `fetch` tells only that it ended too early. */
  sourceError?: Error;
}

/** The part of urllib's request options that ali-oss uses and that matters here. */
interface TransportRequest {
  method: string;
  headers: Record<string, string>;
  content?: string | Buffer;
  stream?: AsyncIterable<Uint8Array>;
  writeStream?: Writable;
  ctx: Call;
}

/** What ali-oss reads of urllib's answer. */
interface TransportResponse {
  status: number;
  headers: Record<string, string>;
  data: Buffer | null;
  res: { status: number; headers: Record<string, string> };
}

/** The longest answer kept in memory: a full page of the longest keys is under 8 MiB. */
const maxAnswerBytes = 16 * 2 ** 20;

export function createTransport({ answerMs, stallMs }: TransportTimeouts): Transport {
  async function exchange(url: string, request: TransportRequest, watch: Watch): Promise<TransportResponse> {
    const { method, stream, content, writeStream, ctx } = request;
    watch.within(stream ? stallMs : answerMs);
    const moved = () => watch.within(stallMs);
    const response = await fetch(url, {
      method,
      headers: { ...request.headers, "accept-encoding": "identity" },
      body: stream ? watched(stream, moved, ctx) : (content ?? null),
      redirect: "manual",
      // A stream cannot be sent again should a kept connection turn out to be closed.
      keepalive: !stream,
      // An object that is stored compressed stays so.
      decompress: false,
      signal: watch.signal,
    });
    moved();
    const { status } = response;
    const headers = Object.fromEntries(response.headers);
    const answer = { status, headers, res: { status, headers } };
    if (writeStream && response.ok) {
      await pipeline(bounded(response, ctx.maxBytes ?? Infinity, moved), writeStream);
      return { ...answer, data: null };
    }
    const chunks = await Array.fromAsync(bounded(response, maxAnswerBytes, moved));
    return { ...answer, data: chunks.length > 0 ? Buffer.concat(chunks) : null };
  }

  return {
    async request(url, request) {
      const { ctx, writeStream } = request;
      const watch = startWatch(ctx.signal);
      try {
        return await exchange(url, request, watch);
      } catch (error) {
        ctx.failure = error;
        // The status that tells ali-oss that there was no answer.
        throw Object.assign(new Error("no answer", { cause: error }), { status: -1 });
      } finally {
        watch.end();
        writeStream?.destroy();
      }
    },
  };
}

async function* watched(source: AsyncIterable<Uint8Array>, moved: () => void, call: Call): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of source) {
      moved();
      yield chunk;
    }
  } catch (error) {
    call.sourceError ??= error instanceof Error ? error : new Error(String(error));
    throw error;
  }
}

/** The body of a response, no longer and no shorter than it should be. */
async function* bounded(response: Response, maxBytes: number, moved: () => void): AsyncGenerator<Uint8Array> {
  const announced = response.body ? response.headers.get("content-length") : null;
  if (announced !== null && Number(announced) > maxBytes) throw new ObjectTooLarge(maxBytes);
  let size = 0;
  for await (const chunk of response.body ?? []) {
    moved();
    size += chunk.length;
    if (size > maxBytes) throw new ObjectTooLarge(maxBytes);
    yield chunk;
  }
  if (announced !== null && size !== Number(announced)) throw new Error(`${size} bytes came of ${announced}`);
}

/** A signal that aborts with the caller's, or when the time that was set last runs out. */
interface Watch {
  signal: AbortSignal;
  within(ms: number): void;
  end(): void;
}

function startWatch(outer: AbortSignal | undefined): Watch {
  const controller = new AbortController();
  const abort = () => controller.abort(outer?.reason);
  if (outer?.aborted) abort();
  outer?.addEventListener("abort", abort, { once: true });
  let timer: Timer | undefined;
  let allowedMs = 0;
  let lapsesAt = Infinity;
  let ended = false;
  /** Looks then whether something has moved since: a new timer with every chunk would cost more than the chunk. */
  const lookIn = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const left = Math.ceil(lapsesAt - performance.now());
      if (left > 0) lookIn(left);
      else controller.abort(new Error(`nothing moved for ${allowedMs / 1000} s`));
    }, ms);
  };
  return {
    signal: controller.signal,
    within(ms) {
      if (ended) return;
      allowedMs = ms;
      const before = lapsesAt;
      lapsesAt = performance.now() + ms;
      // A timer that comes too early looks again; one that would come too late is no good.
      if (lapsesAt < before) lookIn(ms);
    },
    end() {
      ended = true;
      clearTimeout(timer);
      outer?.removeEventListener("abort", abort);
    },
  };
}
