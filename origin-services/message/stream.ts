import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import type { AccessToken } from "@flick/platform/access-token/access-token.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { streamContentType, streamPath } from "@flick/proto/stream.ts";

import type { Context } from "../context.ts";
import { identify, publicError, type Identities } from "../interceptors.ts";
import type { LiveMessage, LiveMessages } from "./live-messages.ts";
import { readMissed, type Listener } from "./missed-messages.ts";
import { createStreamCursor, readStreamPosition, type StreamPosition } from "./stream-cursor.ts";

export interface StreamLimits {
  /** Streams at once in this process, and of one user. */
  streams: number;
  streamsPerUser: number;
  /** What a client that reads slowly may leave lying here before it has to come back. */
  bufferBytes: number;
  heartbeatMs: number;
  lifetimeMs: number;
  /** How often its listener's token is looked at again. */
  checkMs: number;
}

const defaultLimits: StreamLimits = {
  streams: 10_000,
  streamsPerUser: 8,
  bufferBytes: 1024 * 1024,
  heartbeatMs: 15_000,
  lifetimeMs: 60 * 60_000,
  checkMs: 1_000,
};

type StreamContext = Pick<Context, "db" | "log" | "now">;

export interface StreamOptions {
  identities: Identities;
  live: LiveMessages;
  limits?: Partial<StreamLimits>;
}

/** How long a browser waits before it comes back. */
const reconnectMs = 1_000;
/** Messages read at once for who comes back, and messages that may come meanwhile. */
const missedPage = 100;
const maxPending = 1_000;
/** What lies ready before we wait for the client to take it. */
const readyBytes = 64 * 1024;

/** The live stream of proto/stream.ts: `handle` answers its requests, `close` ends every stream, for their clients to go elsewhere. */
export function createMessageStreams(
  context: StreamContext,
  { identities, live, limits: given }: StreamOptions,
): { handle(request: Request): Promise<Response>; close(): void } {
  const limits = { ...defaultLimits, ...given };
  const open = new Map<Stream, Admitted>();
  let closed = false;
  const beating = setInterval(() => open.forEach((_admitted, stream) => stream.beat()), limits.heartbeatMs);
  const checking = setInterval(endThoseLoggedOut, limits.checkMs);

  return {
    async handle(request) {
      try {
        const admitted = await admit(request);
        const { listener } = admitted;
        const since = new URL(request.url).searchParams.get("since");
        const from = since && since !== "0" ? readStreamPosition(since) : null;
        const stream = openStream(context, { listener, from, live, limits, onEnd: () => open.delete(stream) });
        open.set(stream, admitted);
        request.signal.addEventListener("abort", () => stream.end());
        return new Response(stream.body, { headers: { "content-type": streamContentType } });
      } catch (error) {
        const requestId = request.headers.get("x-request-id") ?? undefined;
        const known = publicError(error, context.log, { method: streamPath, requestId });
        return Response.json(errorToJson(known, undefined), { status: codeToHttpStatus(known.code) });
      }
    },
    close() {
      closed = true;
      clearInterval(beating);
      clearInterval(checking);
      for (const stream of open.keys()) stream.end("the service is stopping");
    },
  };

  function endThoseLoggedOut(): void {
    for (const [stream, { token }] of open) {
      if (identities.hasEnded(token)) stream.end("the token is not valid any more");
    }
  }

  async function admit(request: Request): Promise<Admitted> {
    if (request.method !== "GET") throw flickError(Reason.METHOD_NOT_ALLOWED, "a stream is a GET");
    const { viewerId, token } = await identify(request.headers, identities);
    if (!token) throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
    const peerId = Number(new URL(request.url).searchParams.get("peer_id") ?? 0);
    if (!Number.isSafeInteger(peerId) || peerId < 0) {
      throw flickError(Reason.INVALID_PARAMETER, "peer_id: must be an id, or 0 for everybody");
    }
    if (closed) throw flickError(Reason.UNAVAILABLE, "the service is stopping: try again");
    if (open.size >= limits.streams) throw flickError(Reason.BUSY, `more than ${limits.streams} streams: try again`);
    const mine = open.values().reduce((count, other) => count + Number(other.token.userId === viewerId), 0);
    if (mine >= limits.streamsPerUser) {
      throw flickError(Reason.RATE_LIMITED, `you have ${limits.streamsPerUser} streams open, and may have no more`);
    }
    return { listener: { viewerId, peerId }, token };
  }
}

interface Admitted {
  listener: Listener;
  token: AccessToken;
}

interface Stream {
  body: ReadableStream<Uint8Array>;
  beat(): void;
  /** Ends it, telling its client why if there is a reason. */
  end(reason?: string): void;
}

interface OpenOptions {
  listener: Listener;
  /** Null: from now on. */
  from: StreamPosition | null;
  live: LiveMessages;
  limits: StreamLimits;
  onEnd: () => void;
}

/**
 * Listens first and reads what was missed then, so that nothing falls between the two; what both have, the cursor lets through once.
 */
function openStream(context: StreamContext, { listener, from, live, limits, onEnd }: OpenOptions): Stream {
  const { log, now } = context;
  const { viewerId, peerId } = listener;
  const began = now();
  const cursor = createStreamCursor(from ?? { after: began - 1, came: [] }, { exact: peerId > 0, now });
  const encoder = new TextEncoder();
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** What comes while the missed messages are read. */
  let pending: LiveMessage[] | null = [];
  let taken = Promise.withResolvers<void>();

  const stopListening = live.listen(viewerId, (message) => {
    if (peerId > 0 && message.fromId !== peerId) return;
    if (!pending) send(message);
    else if (pending.push(message) > maxPending) end("too many messages at once");
  });

  const body = new ReadableStream<Uint8Array>(
    {
      start(itsController) {
        controller = itsController;
        write(`retry: ${reconnectMs}\n: connected\n\n`);
        void begin();
      },
      pull: () => taken.resolve(),
      cancel: () => end(),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: readyBytes }),
  );

  async function begin(): Promise<void> {
    try {
      if (from) await sendMissed(from.after);
      const waiting = pending ?? [];
      pending = null;
      waiting.forEach(send);
    } catch (error) {
      publicError(error, log, { method: streamPath, requestId: undefined });
      end("messages cannot be read at the moment");
    }
  }

  /** At the pace at which the client takes them. */
  async function sendMissed(afterTime: number): Promise<void> {
    let after = { time: afterTime, id: Number.MAX_SAFE_INTEGER };
    while (isOpen()) {
      const page = await readMissed(context, listener, after, missedPage);
      page.forEach(send);
      const last = page.at(-1);
      if (!last || page.length < missedPage) return;
      after = { time: last.createTime, id: last.id };
      await whenTaken();
    }
  }

  function isOpen(): boolean {
    return controller !== undefined;
  }

  /** Resolves when the client has taken most of what lies ready, or is gone. */
  async function whenTaken(): Promise<void> {
    if (!controller || (controller.desiredSize ?? 0) > 0) return;
    taken = Promise.withResolvers();
    await taken.promise;
  }

  function send(message: LiveMessage): void {
    if (!controller || !cursor.accept(message)) return;
    write(`id: ${cursor.id()}\ndata: ${JSON.stringify(messageObject(message))}\n\n`);
  }

  function write(text: string): void {
    if (!controller) return;
    controller.enqueue(encoder.encode(text));
    if (readyBytes - (controller.desiredSize ?? 0) > limits.bufferBytes) {
      end(`more than ${limits.bufferBytes} bytes wait to be read`);
    }
  }

  function end(reason?: string): void {
    const ending = controller;
    if (!ending) return;
    controller = undefined;
    pending = null;
    stopListening();
    taken.resolve();
    onEnd();
    try {
      if (reason) ending.enqueue(encoder.encode(`: ${reason}: reconnect\n\n`));
      ending.close();
    } catch {
      // Its client went away before.
    }
  }

  return {
    body,
    beat() {
      if (now() - began > limits.lifetimeMs) end("this stream has lasted long enough");
      else write(": alive\n\n");
    },
    end,
  };
}

/** As the public API shows it; ids are below 2^53. */
function messageObject({ id, toId, fromId, content, createTime }: LiveMessage): Record<string, number | string> {
  return { id, to_user_id: toId, from_user_id: fromId, content, create_time: createTime };
}
