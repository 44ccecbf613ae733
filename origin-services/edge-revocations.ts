import {
  encodeRevocation,
  maxRevocations,
  revocationsKey,
  type Revocation,
} from "@flick/platform/access-token/revocations.ts";
import type { Log } from "@flick/platform/log.ts";
import { createRedisConnection } from "@flick/platform/redis-connection.ts";
import { runScript } from "@flick/platform/redis-script.ts";

/** Tells the edge of revoked tokens. */
export interface EdgeRevocations {
  /** Again and again without harm. @returns whether Redis has it. */
  publish(revocation: Revocation): Promise<boolean>;
  close(): void;
}

const connectWithinMs = 3_000;
/** Somebody waits for their logout meanwhile; the change consumer brings it to Redis once more. */
const answerWithinMs = 500;

/**
 * KEYS[1] the set; ARGV: the revocation, how many there may be, and after how many milliseconds every token has expired. By the time at
 * which it comes in, and again when it comes in again: readers ask for what is new to them.
 */
const addScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;

/** @param options.tokenLifetimeMs after it no revocation matters any more. */
export function createEdgeRevocations(options: { url: string; log: Log; tokenLifetimeMs: number }): EdgeRevocations {
  const { url, log, tokenLifetimeMs } = options;
  const connection = createRedisConnection({ url, log, timeoutMs: connectWithinMs });
  // Starts it, so that the first logout finds it.
  connection.isConnected();
  return {
    async publish(revocation) {
      if (!connection.isConnected()) return false;
      if (revocation.expiresAt <= Date.now()) return true;
      const args = [encodeRevocation(revocation), maxRevocations, tokenLifetimeMs];
      try {
        await runScript(connection, addScript, [revocationsKey], args, answerWithinMs);
        return true;
      } catch (error) {
        log.warn("a revoked token has not reached the edge yet", { error });
        return false;
      }
    },
    close: () => connection.close(),
  };
}
