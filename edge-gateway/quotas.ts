import { Ratelimit } from "@upstash/ratelimit";

import { createBoundedMap } from "./bounded-map.ts";
import type { Quota } from "./limit-policies.ts";
import type { Log } from "./log.ts";
import type { Redis } from "./redis.ts";

/** What became of one more call. */
export interface Taken {
  allowed: boolean;
  limit: number;
  remaining: number;
  /** Milliseconds until the window ends: then there is room again. */
  resetMs: number;
  /** Of the window. */
  seconds: number;
}

/** Counts that all locations share. */
export interface Quotas {
  /**
   * Takes one call out of a quota.
   *
   * @param name of the quota, the first part of its keys.
   * @returns null when Redis does not answer.
   */
  take(name: string, quota: Quota, key: string): Promise<Taken | null>;
  /** Remembers something for a while, in one write; it is lost when Redis does not answer. */
  remember(key: string, seconds: number): Promise<void>;
  /** Is it remembered? Null when Redis does not answer. */
  isRemembered(key: string): Promise<boolean | null>;
}

/** Keys that are known to be over their limit, in each isolate. */
const mostBlocked = 10_000;
/** Somebody over the limit asks Redis again after so long: the window slides on. */
const longestBlockMs = 5_000;
/** After a failure, Redis is left alone for so long: every call would wait for it, and all of them can do without. */
const restMs = 2_000;

export const quotaKeyPrefix = "limit::";

export function createQuotas(redis: Redis, log: Log): Quotas {
  /** One for each quota, made anew when its numbers change. */
  const limiters = new Map<string, { quota: Quota; limiter: Ratelimit }>();
  let restsUntil = 0;

  function limiterFor(name: string, quota: Quota): Ratelimit {
    const found = limiters.get(name);
    if (found && found.quota.count === quota.count && found.quota.seconds === quota.seconds) return found.limiter;
    const limiter = new Ratelimit({
      redis,
      prefix: `${quotaKeyPrefix}${name}`,
      limiter: Ratelimit.slidingWindow(quota.count, `${quota.seconds} s`),
      ephemeralCache: createBlockedKeys(),
      analytics: false,
      enableTelemetry: false,
      // The connection has one of its own, which fails: this one would let everything through.
      timeout: 0,
    });
    limiters.set(name, { quota, limiter });
    return limiter;
  }

  async function attempt<T>(work: () => Promise<T>): Promise<T | null> {
    if (Date.now() < restsUntil) return null;
    try {
      const answer = await work();
      restsUntil = 0;
      return answer;
    } catch (error) {
      if (restsUntil === 0) {
        const problem = error instanceof Error ? error.message : String(error);
        log.warn("limits cannot be counted in Redis: the location's own apply", { problem });
      }
      restsUntil = Date.now() + restMs;
      return null;
    }
  }

  return {
    take: (name, quota, key) =>
      attempt(async () => {
        const { success, limit, remaining } = await limiterFor(name, quota).limit(key);
        const windowMs = quota.seconds * 1000;
        const resetMs = windowMs - (Date.now() % windowMs);
        return { allowed: success, limit, remaining, resetMs, seconds: quota.seconds };
      }),
    async remember(key, seconds) {
      await attempt(() => redis.set(key, "1", { ex: seconds }));
    },
    isRemembered: (key) => attempt(async () => (await redis.exists(key)) === 1),
  };
}

/** Until when a key is refused without asking. */
function createBlockedKeys(): Map<string, number> {
  const map = createBoundedMap<string, number>(mostBlocked);
  const put = map.set;
  map.set = (key, reset) => put(key, Math.min(reset, Date.now() + longestBlockMs));
  return map;
}
