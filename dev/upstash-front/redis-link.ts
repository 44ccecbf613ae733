import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

import type { Log } from "@flick/platform/log.ts";

import { createReplyParser, encodeCommands, RedisError, type Argument, type Reply } from "./resp.ts";

/** One connection to Redis for everybody, made when it is needed. */
export interface RedisLink {
  /**
   * Sends commands with nothing in between; the replies are in their order, errors of single commands among them.
   * @throws {RedisAway} when there is no connection, or it ends before the last reply.
   */
  run(commands: readonly (readonly Argument[])[]): Promise<Reply[]>;
  close(): void;
}

export class RedisAway extends Error {
  override name = "RedisAway";
}

const connectWithinMs = 2_000;
const answerWithinMs = 5_000;
/** Commands whose replies are awaited, of all callers together. */
const mostInFlight = 10_000;

interface Connection {
  socket: Socket;
  waiting: Waiting[];
}

interface Waiting {
  replies: Reply[];
  count: number;
  resolve: (replies: Reply[]) => void;
  reject: (error: Error) => void;
}

export function createRedisLink(options: { url: string; log: Log }): RedisLink {
  const { log } = options;
  const address = new URL(options.url);
  let connection: Promise<Connection> | null = null;
  let inFlight = 0;
  let away = false;

  return {
    async run(commands) {
      if (inFlight + commands.length > mostInFlight)
        throw new RedisAway(`more than ${mostInFlight} commands are in flight`);
      inFlight += commands.length;
      try {
        connection ??= open();
        return await exchange(await connection, commands);
      } finally {
        inFlight -= commands.length;
      }
    },
    close() {
      void connection?.then(({ socket }) => socket.destroy()).catch(() => {});
    },
  };

  async function open(): Promise<Connection> {
    try {
      const opened = await dial();
      if (away) log.info("Redis is reachable again");
      away = false;
      return opened;
    } catch (error) {
      connection = null;
      if (!away) log.warn("Redis is not reachable; every request tries again", { error });
      away = true;
      throw new RedisAway("Redis is not reachable", { cause: error });
    }
  }

  async function dial(): Promise<Connection> {
    const host = address.hostname.replace(/^\[|\]$/g, "");
    const target = { host, port: Number(address.port || 6379) };
    const socket = address.protocol === "rediss:" ? connectTls({ ...target, servername: host }) : connectTcp(target);
    const dialed: Connection = { socket, waiting: [] };
    const parse = createReplyParser((reply) => take(dialed, reply));
    socket.setNoDelay(true);
    socket.on("data", (chunk) => {
      try {
        parse(chunk);
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    });
    let cause: Error | undefined;
    socket.on("error", (error) => (cause = error));
    const connected = Promise.withResolvers<void>();
    socket.once(address.protocol === "rediss:" ? "secureConnect" : "connect", () => connected.resolve());
    socket.once("close", () => {
      connection = null;
      const error = new RedisAway("the connection to Redis has ended", { cause });
      connected.reject(error);
      for (const { reject } of dialed.waiting.splice(0)) reject(error);
    });
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection within ${connectWithinMs} ms`)),
      connectWithinMs,
    );
    await connected.promise.finally(() => clearTimeout(timer));
    await greet(dialed);
    return dialed;
  }

  async function greet(dialed: Connection): Promise<void> {
    const [user, password] = [decodeURIComponent(address.username), decodeURIComponent(address.password)];
    const database = address.pathname.slice(1);
    const commands = [["PING"]];
    if (database) commands.unshift(["SELECT", database]);
    if (password) commands.unshift(user ? ["AUTH", user, password] : ["AUTH", password]);
    const refused = (await exchange(dialed, commands)).find((reply) => reply instanceof RedisError);
    if (!refused) return;
    dialed.socket.destroy();
    throw refused;
  }

  function exchange({ socket, waiting }: Connection, commands: readonly (readonly Argument[])[]): Promise<Reply[]> {
    if (commands.length === 0) return Promise.resolve([]);
    const { promise, resolve, reject } = Promise.withResolvers<Reply[]>();
    // Replies have no other name than their place, so a late one spoils all that follow.
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${answerWithinMs} ms`)), answerWithinMs);
    waiting.push({ replies: [], count: commands.length, resolve, reject });
    socket.write(encodeCommands(commands));
    return promise.finally(() => clearTimeout(timer));
  }
}

function take({ waiting }: Connection, reply: Reply): void {
  const [first] = waiting;
  if (!first) throw new Error("Redis answered more than it was asked");
  first.replies.push(reply);
  if (first.replies.length < first.count) return;
  waiting.shift();
  first.resolve(first.replies);
}
