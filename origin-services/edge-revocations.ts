import { firstIdAt } from "@flick/db/id.ts";
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
 * KEYS[1] the set; ARGV: id and member of the revocation, the id below which every revoked token has expired, how many members
 * there may be, and for how many seconds the set is of any use.
 */
const addScript = `
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[4] - 1)
redis.call('EXPIRE', KEYS[1], ARGV[5])
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
      const { id, expiresAt } = revocation;
      if (expiresAt <= Date.now()) return true;
      const oldest = firstIdAt(Date.now() - tokenLifetimeMs);
      const lifetimeS = Math.ceil(tokenLifetimeMs / 1000);
      const args = [id, encodeRevocation(revocation), oldest, maxRevocations, lifetimeS];
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
