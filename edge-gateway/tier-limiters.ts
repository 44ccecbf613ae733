import { tiers, type Tier } from "./limit-policies.ts";
import { createMemoryLimiter, type RateLimiter } from "./memory-limiter.ts";

/** Who is counted. They have limiters of their own, because the local stack widens those by address. */
export type Counted = "user" | "ip";

/** The runtime's own limiters: near, approximate, and there also when Redis is not. */
export type TierLimiters = Record<Counted, Record<Tier, RateLimiter>>;

const tierNames = Object.keys(tiers) as Tier[];

/** `LIMIT_IP_NORMAL`, and so on: the names of the bindings in wrangler.toml. */
export const limiterBinding = (counted: Counted, tier: Tier) => `LIMIT_${counted}_${tier}`.toUpperCase();

/**
 * The limiters that the runtime binds; in place of those that it does not, limiters in this process's memory.
 *
 * @param options.ipFactor how much more the ones by address let through.
 * @param options.onMissing is told the bindings that there are not.
 */
export function tierLimiters(
  bindings: unknown,
  options: { ipFactor: number; onMissing?: (names: string[]) => void },
): TierLimiters {
  const { ipFactor, onMissing } = options;
  const missing: string[] = [];
  const bound = typeof bindings === "object" && bindings !== null ? (bindings as Record<string, unknown>) : {};
  const limiter = (counted: Counted, tier: Tier): RateLimiter => {
    const name = limiterBinding(counted, tier);
    const binding = bound[name];
    if (isLimiter(binding)) return binding;
    missing.push(name);
    const { limit, period } = tiers[tier];
    return createMemoryLimiter({ limit: limit * (counted === "ip" ? ipFactor : 1), periodMs: period * 1000 });
  };
  const all = (counted: Counted) =>
    Object.fromEntries(tierNames.map((tier) => [tier, limiter(counted, tier)])) as Record<Tier, RateLimiter>;
  const limiters = { user: all("user"), ip: all("ip") };
  if (missing.length > 0) onMissing?.(missing);
  return limiters;
}

function isLimiter(binding: unknown): binding is RateLimiter {
  return typeof binding === "object" && binding !== null && "limit" in binding;
}
