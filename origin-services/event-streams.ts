import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import type { AccessToken } from "@flick/platform/access-token/access-token.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { streamContentType } from "@flick/proto/stream.ts";

import type { Context } from "./context.ts";
import { identify, publicError, type Identities } from "./interceptors.ts";

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

/** How long a browser waits before it comes back. */
const reconnectMs = 1_000;
/** What lies ready before we wait for the client to take it. */
const readyBytes = 64 * 1024;

/** One stream, as whoever feeds it sees it. */
export interface EventStream {
  isOpen(): boolean;
  /** Does nothing when it is closed; ends it when more waits to be read than may. */
  send(event: { id?: string; data: unknown }): void;
  /** Resolves when the client has taken most of what lies ready, or is gone. */
  whenTaken(): Promise<void>;
  /** Ends it, telling its client why if there is a reason. */
  end(reason?: string): void;
}

/** What feeds one stream. */
export interface Feeding {
  /** Called with every heartbeat. */
  beat?: () => void;
  /** Called once, when the stream has ended. */
  stop: () => void;
}

export interface EventStreamsOptions<Asked> {
  /** Of the call, for the log. */
  path: string;
  identities: Identities;
  limits?: Partial<StreamLimits> | undefined;
  /** What a request asks for. @throws when it cannot be had. */
  read: (viewerId: number, query: URLSearchParams) => Asked | Promise<Asked>;
  /** Begins to feed a stream. */
  feed: (asked: Asked, stream: EventStream) => Feeding;
}

export interface EventStreams {
  handle(request: Request): Promise<Response>;
  /** Ends every stream, for their clients to go elsewhere. */
  close(): void;
}

/** Streams of server-sent events to signed-in viewers, as proto/stream.ts describes them; what is in them, each kind has for itself. */
export function createEventStreams<Asked>(
  { log, now }: Pick<Context, "log" | "now">,
  options: EventStreamsOptions<Asked>,
): EventStreams {
  const { path, identities, read, feed } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const open = new Map<OpenStream, AccessToken>();
  let closed = false;
  const beating = setInterval(() => open.forEach((_token, stream) => stream.beat()), limits.heartbeatMs);
  const checking = setInterval(endThoseLoggedOut, limits.checkMs);

  return {
    async handle(request) {
      try {
        const token = await admit(request);
        const asked = await read(token.userId, new URL(request.url).searchParams);
        // From here on nothing is waited for: whoever came meanwhile counts.
        checkRoom(token);
        const begin = (stream: EventStream) => feed(asked, stream);
        const stream = openStream({ limits, now, begin, onEnd: () => open.delete(stream) });
        open.set(stream, token);
        request.signal.addEventListener("abort", () => stream.end());
        return new Response(stream.body, { headers: { "content-type": streamContentType } });
      } catch (error) {
        const requestId = request.headers.get("x-request-id") ?? undefined;
        const known = publicError(error, log, { method: path, requestId });
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
    for (const [stream, token] of open) {
      if (identities.hasEnded(token)) stream.end("the token is not valid any more");
    }
  }

  /** The viewer's token. */
  async function admit(request: Request): Promise<AccessToken> {
    if (request.method !== "GET") throw flickError(Reason.METHOD_NOT_ALLOWED, "a stream is a GET");
    const { token } = await identify(request.headers, identities);
    if (!token) throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
    return token;
  }

  function checkRoom({ userId }: AccessToken): void {
    if (closed) throw flickError(Reason.UNAVAILABLE, "the service is stopping: try again");
    if (open.size >= limits.streams) throw flickError(Reason.BUSY, `more than ${limits.streams} streams: try again`);
    const mine = open.values().reduce((count, other) => count + Number(other.userId === userId), 0);
    if (mine >= limits.streamsPerUser) {
      throw flickError(Reason.RATE_LIMITED, `you have ${limits.streamsPerUser} streams open, and may have no more`);
    }
  }
}

interface OpenStream {
  body: ReadableStream<Uint8Array>;
  beat(): void;
  end(reason?: string): void;
}

interface OpenOptions {
  limits: StreamLimits;
  now: () => number;
  begin: (stream: EventStream) => Feeding;
  onEnd: () => void;
}

function openStream({ limits, now, begin, onEnd }: OpenOptions): OpenStream {
  const began = now();
  const encoder = new TextEncoder();
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let taken = Promise.withResolvers<void>();
  let feeding: Feeding | undefined;

  const stream: EventStream = {
    isOpen: () => controller !== undefined,
    send({ id, data }) {
      write(`${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`);
    },
    async whenTaken() {
      if (!controller || (controller.desiredSize ?? 0) > 0) return;
      taken = Promise.withResolvers();
      await taken.promise;
    },
    end,
  };

  const body = new ReadableStream<Uint8Array>(
    {
      start(itsController) {
        controller = itsController;
        write(`retry: ${reconnectMs}\n: connected\n\n`);
      },
      pull: () => taken.resolve(),
      cancel: () => end(),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: readyBytes }),
  );
  feeding = begin(stream);

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
    feeding?.stop();
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
      if (now() - began > limits.lifetimeMs) return end("this stream has lasted long enough");
      write(": alive\n\n");
      feeding?.beat?.();
    },
    end,
  };
}
