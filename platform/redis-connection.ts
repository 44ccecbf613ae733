import { setTimeout as sleep } from "node:timers/promises";

import { RedisClient } from "bun";

import type { Log } from "./log.ts";
import { within } from "./within.ts";

/** A connection that comes back by itself. Commands fail in time while it is away; none is sent twice. */
export interface RedisConnection {
  /**
   * @param answerWithinMs when it passes without an answer, the connection is replaced.
   * @throws {RedisUnavailable} when there was no connection in time, or it broke before the answer (the command may have run).
   */
  send(command: string, args: readonly string[], answerWithinMs?: number): Promise<unknown>;
  /** Is there a connection now? When not, one is being made from now on. */
  isConnected(): boolean;
  /** Milliseconds since 1970 at which the connection last came back, 0 while it never broke. */
  cameBackAt(): number;
  close(): void;
}

class RedisUnavailable extends Error {
  override name = "RedisUnavailable";
}

/** Commands that may wait for a connection at once; beyond it they fail without waiting. */
const maxWaiting = 1_000;

/**
 * Bun's own reconnection gives up after some tries and its offline queue has no bound, so neither is used: a client serves until
 * it breaks, and then there is a new one.
 *
 * @param options.timeoutMs how long a command waits for a connection, and then for its answer.
 */
export function createRedisConnection(options: { url: string; log: Log; timeoutMs: number }): RedisConnection {
  const { log, timeoutMs } = options;
  const closing = new AbortController();
  let live: RedisClient | undefined;
  let connecting: Promise<RedisClient> | undefined;
  let wasConnected = false;
  let cameBackAt = 0;
  let waiting = 0;

  async function connect(): Promise<RedisClient> {
    const startedAt = Date.now();
    for (let failures = 0; ; failures++) {
      if (failures > 0) {
        const backOffMs = Math.min(1_000, 25 * 2 ** failures) * (0.5 + Math.random() / 2);
        await sleep(backOffMs, undefined, { signal: closing.signal }).catch(() => {});
      }
      if (closing.signal.aborted) throw new RedisUnavailable("the connection to Redis has been closed");
      try {
        const client = await open();
        if (wasConnected) cameBackAt = Date.now();
        if (wasConnected || failures > 0) log.info("Redis is reachable again", { awayMs: Date.now() - startedAt });
        wasConnected = true;
        return client;
      } catch (error) {
        if (failures === 0 && !closing.signal.aborted)
          log.warn("Redis is not reachable; trying until it is", { error });
      }
    }
  }

  async function open(): Promise<RedisClient> {
    const client = new RedisClient(options.url, {
      autoReconnect: false,
      enableOfflineQueue: false,
      connectionTimeout: timeoutMs,
    });
    try {
      await within(client.connect(), timeoutMs, tooSlow("connecting to Redis", timeoutMs));
      // A server that is still loading its data accepts connections and refuses commands.
      await within(client.send("PING", []), timeoutMs, tooSlow("the first PING to Redis", timeoutMs));
      closing.signal.throwIfAborted();
    } catch (error) {
      client.close();
      throw error;
    }
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- Bun's client has no events, only this property.
    client.onclose = () => {
      if (live !== client) return;
      live = undefined;
      if (!closing.signal.aborted) void startConnecting();
    };
    live = client;
    connecting = undefined;
    return client;
  }

  function startConnecting(): Promise<RedisClient> {
    connecting = connect();
    // Nobody may be waiting for it.
    connecting.catch(() => {});
    return connecting;
  }

  async function connection(): Promise<RedisClient> {
    if (live) return live;
    if (closing.signal.aborted) throw new RedisUnavailable("the connection to Redis has been closed");
    if (waiting >= maxWaiting) {
      throw new RedisUnavailable(`Redis is not reachable and ${maxWaiting} commands are waiting for it already`);
    }
    waiting++;
    try {
      const waited = tooSlow("waiting for a connection to Redis", timeoutMs);
      return await within(connecting ?? startConnecting(), timeoutMs, waited);
    } finally {
      waiting--;
    }
  }

  return {
    async send(command, args, answerWithinMs = timeoutMs) {
      const client = await connection();
      try {
        const answer: unknown = await within(
          client.send(command, [...args]),
          answerWithinMs,
          tooSlow(`Redis' answer to ${command}`, answerWithinMs),
        );
        return answer;
      } catch (error) {
        if (error instanceof RedisUnavailable) client.close();
        if (isRedisError(error) || error instanceof RedisUnavailable) throw error;
        throw new RedisUnavailable(`the connection to Redis broke during ${command}`, { cause: error });
      }
    },
    isConnected() {
      if (!live && !connecting && !closing.signal.aborted) void startConnecting();
      return live !== undefined;
    },
    cameBackAt: () => cameBackAt,
    close() {
      closing.abort();
      live?.close();
      live = undefined;
    },
  };
}

/** An error that the server answered with, as against a connection that failed; its message begins with the code, as `NOGROUP`. */
export function isRedisError(error: unknown, code = ""): error is Error {
  return (
    error instanceof Error &&
    "code" in error &&
    error.code === "ERR_REDIS_SERVER_ERROR" &&
    error.message.startsWith(code)
  );
}

function tooSlow(what: string, ms: number): () => RedisUnavailable {
  return () => new RedisUnavailable(`${what} took longer than ${ms} ms`);
}
