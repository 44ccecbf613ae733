import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

import type { Log } from "@flick/platform/log.ts";

import { RequestError } from "./errors.ts";
import { createReplyReader, encodeCommands, ReplyError, type Command, type Reply } from "./resp2.ts";

/** One connection in RESP2, which is made when it is needed. A broken one is replaced for the next command. */
export interface RedisConnection {
  /**
   * Sends commands in one piece, so that no others come between them.
   *
   * @returns one reply for each.
   * @throws {RequestError} when the replies are longer than the limit.
   * @throws {RedisUnavailable} when there is no connection, or it broke before the answer (the commands may have run then).
   */
  send(commands: readonly Command[]): Promise<Reply[]>;
  close(): void;
}

export class RedisUnavailable extends Error {
  override name = "RedisUnavailable";
}

/** How long a new connection may take, and then each answer. */
const timeouts = { connectMs: 2000, answerMs: 5000 };
/** What may wait for answers at once, and the replies to what was sent in one piece. */
const limits = { waitingCommands: 10_000, unsentBytes: 64 * 2 ** 20, replyBytes: 16 * 2 ** 20 };

/**
 * Bun's own client speaks RESP2 too, after `HELLO 2`, but gives strings for bytes that are no UTF-8 and numbers for integers
 * beyond 2^53; the REST API passes on both unharmed.
 *
 * @param options.url `redis://[[user]:password@]host[:port][/database]`, or with TLS `rediss://…`.
 */
export function createRedisConnection(options: { url: string; log: Log }): RedisConnection {
  const { log } = options;
  const target = readUrl(options.url);
  let live: Link | undefined;
  let connecting: Promise<Link> | undefined;
  let isClosed = false;
  let isAway = false;

  async function connect(): Promise<Link> {
    try {
      live = await openLink(target);
      if (isAway) log.info("Redis is reachable again");
      isAway = false;
      return live;
    } catch (error) {
      if (!isAway) log.warn("Redis is not reachable; each request tries again", { error });
      isAway = true;
      throw error;
    } finally {
      connecting = undefined;
      if (isClosed) live?.end();
    }
  }

  return {
    async send(commands) {
      if (isClosed) throw new RedisUnavailable("the connection to Redis has been closed");
      const link = live?.isOpen() ? live : await (connecting ??= connect());
      return link.send(commands, timeouts.answerMs);
    },
    close() {
      isClosed = true;
      live?.end();
    },
  };
}

/** A connection while it lasts. */
interface Link {
  isOpen(): boolean;
  send(commands: readonly Command[], withinMs: number): Promise<Reply[]>;
  end(): void;
}

/** Commands that were sent in one piece. */
interface Batch {
  replies: Reply[];
  /** How many replies there will be. */
  count: number;
  timer: ReturnType<typeof setTimeout>;
  resolve(replies: Reply[]): void;
  reject(error: Error): void;
}

async function openLink(target: Target): Promise<Link> {
  const link = createLink(await openSocket(target));
  try {
    const replies = await link.send(target.greeting, timeouts.connectMs);
    const refusal = replies.find((reply) => reply instanceof ReplyError);
    if (refusal) throw new RedisUnavailable(`Redis refuses the connection: ${refusal.message}`);
    return link;
  } catch (error) {
    link.end();
    throw error;
  }
}

function openSocket({ host, port, tls }: Target): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = tls ? connectTls({ host, port }) : connectTcp({ host, port });
  const fail = (reason: string) => {
    socket.destroy();
    reject(new RedisUnavailable(`no connection to Redis: ${reason}`));
  };
  const timer = setTimeout(() => fail(`it took longer than ${timeouts.connectMs} ms`), timeouts.connectMs);
  // Stays for the socket's life: an error without a listener would end the program.
  socket.on("error", (error) => fail(error.message));
  socket.once("close", () => {
    clearTimeout(timer);
    fail("it was closed");
  });
  socket.once(tls ? "secureConnect" : "connect", () => {
    clearTimeout(timer);
    socket.setNoDelay(true);
    resolve(socket);
  });
  return promise;
}

function createLink(socket: Socket): Link {
  /** Redis answers in the order of the questions. */
  const waiting: Batch[] = [];
  let waitingCommands = 0;
  let isOpen = true;
  /** Of the replies to the batch whose turn it is. */
  let replyBytes = 0;

  function end(reason: string): void {
    isOpen = false;
    socket.destroy();
    for (const batch of waiting.splice(0)) {
      clearTimeout(batch.timer);
      batch.reject(new RedisUnavailable(reason));
    }
  }

  const read = createReplyReader((reply) => {
    const [batch] = waiting;
    if (!batch) throw new Error("Redis answered without a question");
    waitingCommands--;
    batch.replies.push(reply);
    if (batch.replies.length < batch.count) return;
    waiting.shift();
    replyBytes = 0;
    clearTimeout(batch.timer);
    batch.resolve(batch.replies);
  });
  socket.on("data", (chunk: Buffer) => {
    replyBytes += chunk.length;
    if (replyBytes > limits.replyBytes) {
      waiting[0]?.reject(new RequestError(400, `ERR the answer is longer than ${limits.replyBytes} bytes`));
      // What is left of it may have any length, so it is not read.
      return end("the connection to Redis was closed because of another request's answer, which was too long");
    }
    try {
      if (isOpen) read(chunk);
    } catch (error) {
      end(error instanceof Error ? error.message : String(error));
    }
  });
  socket.on("close", () => end("the connection to Redis broke before the answer"));

  return {
    isOpen: () => isOpen && !socket.destroyed,
    end: () => end("the connection to Redis has been closed"),
    send(commands, withinMs) {
      if (!isOpen) throw new RedisUnavailable("the connection to Redis broke");
      if (waitingCommands + commands.length > limits.waitingCommands) {
        throw new RedisUnavailable(`more than ${limits.waitingCommands} commands would wait for Redis`);
      }
      if (socket.writableLength > limits.unsentBytes) {
        throw new RedisUnavailable(`more than ${limits.unsentBytes} bytes wait to be sent to Redis`);
      }
      const { promise, resolve, reject } = Promise.withResolvers<Reply[]>();
      // An answer that comes too late would be taken for the next one's, so the connection goes too.
      const timer = setTimeout(() => end(`Redis did not answer within ${withinMs} ms`), withinMs);
      waitingCommands += commands.length;
      waiting.push({ replies: [], count: commands.length, timer, resolve, reject });
      socket.write(encodeCommands(commands));
      return promise;
    },
  };
}

interface Target {
  host: string;
  port: number;
  tls: boolean;
  /** What a new connection says first. */
  greeting: Command[];
}

function readUrl(text: string): Target {
  const url = new URL(text);
  const [username, password, database] = [url.username, url.password, url.pathname.slice(1)].map(decodeURIComponent);
  const greeting: Command[] = [];
  if (password) greeting.push(username ? ["AUTH", username, password] : ["AUTH", password]);
  if (database) greeting.push(["SELECT", database]);
  // A server that is still loading its data accepts connections and refuses commands.
  greeting.push(["PING"]);
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port || 6379),
    tls: url.protocol === "rediss:",
    greeting,
  };
}
