import type { Log } from "@flick/platform/log.ts";
import { createRedisConnection } from "@flick/platform/redis-connection.ts";
import { runScript } from "@flick/platform/redis-script.ts";

import { leaseOf } from "./cache-keys.ts";

/** Redis as a cache needs it: whatever is wrong with it costs an answer, never an error and hardly any time. */
export interface CacheRedis {
  /** Runs a script on the keys and their leases. Undefined when Redis cannot be used at the moment. */
  run(script: string, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
  /**
   * Deletes keys together with their leases. When Redis cannot be reached, or its answer does not come, it goes on trying; until it has
   * succeeded, this process reads nothing from the cache.
   *
   * @returns whether the keys are gone already.
   */
  delete(keys: readonly string[]): Promise<boolean>;
  /** Scripts and deletions that were sent. */
  roundTrips(): number;
  close(): void;
}

/** Failures in a row after which Redis is left alone for a while; one that took the whole time counts for all of them. */
const maxFailures = 3;
const restMs = 1_000;
/** Of one command: keys with their leases. */
const keysPerDelete = 2_000;
/** Keys remembered for another try. The change consumer deletes those beyond it, when the change reaches it. */
const maxOwed = 20_000;
const longestRetryMs = 1_000;
/** Not on anybody's way: while there is no connection, nobody waits for one. */
const connectWithinMs = 3_000;

export function createCacheRedis(options: { url: string; log: Log; timeoutMs: number }): CacheRedis {
  const { log, timeoutMs } = options;
  const connection = createRedisConnection({ url: options.url, log, timeoutMs: connectWithinMs });
  const closing = new AbortController();
  /** Keys whose deletion has failed. */
  let owed = new Set<string>();
  /** Until all of them are gone. */
  let paying = false;
  let failures = 0;
  let restsUntil = 0;
  /** Has one call been let through to see whether Redis is well again? */
  let probing = false;
  let roundTrips = 0;

  /** Starts the connection, so that the first reads find it. */
  connection.isConnected();

  return {
    async run(script, keys, args) {
      if (paying || !mayTry()) return undefined;
      try {
        return await attempt(() => runScript(connection, script, keys.flatMap(withLease), args, timeoutMs));
      } catch {
        return undefined;
      }
    },
    async delete(keys) {
      if (keys.length === 0) return true;
      // Tried also while Redis rests: a reader of another process may find it well.
      if (!paying && connection.isConnected()) {
        try {
          await erase(keys);
          return true;
        } catch {
          // Remembered below.
        }
      }
      owe(keys);
      return false;
    },
    roundTrips: () => roundTrips,
    close() {
      closing.abort();
      connection.close();
    },
  };

  function mayTry(): boolean {
    if (!connection.isConnected()) return false;
    if (restsUntil === 0) return true;
    if (probing || Date.now() < restsUntil) return false;
    probing = true;
    return true;
  }

  async function attempt<T>(work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    roundTrips++;
    try {
      const answer = await work();
      if (restsUntil > 0) log.info("the cache is in use again");
      failures = 0;
      restsUntil = 0;
      return answer;
    } catch (error) {
      const tookAll = performance.now() - startedAt >= timeoutMs;
      failures = tookAll ? maxFailures : failures + 1;
      if (failures >= maxFailures) {
        if (restsUntil === 0) log.warn("the cache fails and rests; reads go to the database", { error });
        restsUntil = Date.now() + restMs;
      }
      throw error;
    } finally {
      probing = false;
    }
  }

  async function erase(keys: readonly string[]): Promise<void> {
    for (let from = 0; from < keys.length; from += keysPerDelete) {
      const some = keys.slice(from, from + keysPerDelete);
      await attempt(() => connection.send("DEL", some.flatMap(withLease), timeoutMs));
    }
  }

  /**
   * The cache and the event log are in the same Redis. What is not deleted because Redis is away is deleted again when the change
   * consumer can read there again; this retry is for an answer that came too late, and so that a writer reads what it wrote.
   */
  function owe(keys: readonly string[]): void {
    for (const key of keys) {
      if (owed.size < maxOwed) owed.add(key);
    }
    if (owed.size === maxOwed) log.warn(`more than ${maxOwed} keys are waiting to be deleted; the rest is forgotten`);
    if (!paying) void pay();
  }

  async function pay(): Promise<void> {
    paying = true;
    for (let tries = 0; owed.size > 0 && !closing.signal.aborted; tries++) {
      await Bun.sleep(Math.min(longestRetryMs, 25 * 2 ** Math.min(tries, 10)) * (0.5 + Math.random() / 2));
      if (!connection.isConnected()) continue;
      // A key that comes back while these are on their way is deleted once more.
      const keys = owed;
      owed = new Set();
      try {
        await erase([...keys]);
      } catch {
        owed = owed.union(keys);
      }
    }
    paying = false;
  }
}

const withLease = (key: string) => [key, leaseOf(key)];
