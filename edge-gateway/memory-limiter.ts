import type { Soon } from "./soon.ts";

/** Counts calls, as a rate limit binding of Workers does. */
export interface RateLimiter {
  /** @returns whether one more call under this key is within the limit. */
  limit(options: { key: string }): Soon<{ success: boolean }>;
}

/** Keys that are counted at once. Beyond it the one that came first is forgotten, which lets too much through rather than too little. */
const defaultMostKeys = 50_000;

/**
 * The same for runtimes that have no such bindings: windows of a fixed length, counted in this process alone.
 *
 * @param options.limit calls in `periodMs`.
 */
export function createMemoryLimiter(options: {
  limit: number;
  periodMs: number;
  mostKeys?: number;
  now?: () => number;
}): RateLimiter & { size(): number } {
  const { limit, periodMs, mostKeys = defaultMostKeys, now = Date.now } = options;
  const counts = new Map<string, number>();
  let window = 0;

  return {
    limit({ key }) {
      const current = Math.floor(now() / periodMs);
      if (current !== window) counts.clear();
      window = current;
      const count = counts.get(key) ?? 0;
      if (count >= limit) return { success: false };
      if (count === 0 && counts.size >= mostKeys) {
        const [first] = counts.keys();
        if (first !== undefined) counts.delete(first);
      }
      counts.set(key, count + 1);
      return { success: true };
    },
    size: () => counts.size,
  };
}
