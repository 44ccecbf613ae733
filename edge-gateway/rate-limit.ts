import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { nameKeyOf } from "@flick/platform/name-key.ts";

import { inBackground } from "./background.ts";
import { addressGroup } from "./client-address.ts";
import type { GatewayContext } from "./endpoint.ts";
import { tiers, type LimitSettings, type Quota, type Tier } from "./limit-policies.ts";
import type { Pseudonym } from "./pseudonyms.ts";
import { quotaKeyPrefix, type Quotas, type Taken } from "./quotas.ts";
import { andThen, type Soon } from "./soon.ts";
import type { Counted, TierLimiters } from "./tier-limiters.ts";

/** Calls that are counted exactly, besides being a request like any other. */
export type LimitedCall = "login" | "register" | "publish" | "cover" | "profile" | "comment" | "message" | "follow";

/** Both refuse by throwing RATE_LIMITED, with headers that tell the limit and the wait. */
export interface RateLimit {
  /** Counts a request, whatever it is: by its viewer, else by its address. */
  request(c: GatewayContext): Soon<void>;
  /**
   * Counts a call that has a quota of its own. Without Redis, logins and registrations fall back to the location's own limiters, and the
   * other calls go on.
   *
   * @param account the name that a login or a registration is for.
   * @returns to be called when the call has succeeded.
   */
  call(c: GatewayContext, call: LimitedCall, account: string): Promise<() => void>;
}

export interface RateLimitOptions {
  limiters: TierLimiters;
  /** Null where there is no Redis. */
  quotas: Quotas | null;
  pseudonym: Pseudonym;
  /** Where a request comes from, as the runtime tells. */
  addressOf: (c: GatewayContext) => string | undefined;
  /** How much more is let through from one address. */
  ipFactor: number;
  settings: () => LimitSettings;
}

/** So long an account may be logged in to from an address that it was logged in to from before, whatever others do. */
const knownSeconds = 30 * 86_400;

const things: Record<LimitedCall, string> = {
  login: "attempts to sign in",
  register: "registrations",
  publish: "videos",
  cover: "covers",
  profile: "changes of the profile",
  comment: "comments",
  message: "messages",
  follow: "people followed or unfollowed",
};

export function createRateLimit(options: RateLimitOptions): RateLimit {
  const { limiters, quotas, pseudonym, addressOf, ipFactor, settings } = options;

  const addressKey = (c: GatewayContext): Soon<string> => pseudonym("address", addressOf(c) ?? "", addressGroup);

  /** Null when there is none. */
  function viewerKey(c: GatewayContext): Soon<string> | null {
    const viewer = c.get("viewer");
    return viewer === undefined || viewer === null ? null : pseudonym("viewer", String(viewer));
  }

  /** Undefined when there is no such limit, null when Redis does not answer. */
  async function take(name: string, quota: Quota, key: string): Promise<Taken | null | undefined> {
    if (quota.count === 0) return undefined;
    return quotas === null ? null : quotas.take(name, quota, key);
  }

  const widened = (quota: Quota): Quota => ({ ...quota, count: quota.count * ipFactor });

  /** Refuses when the location's own limiter does. */
  function pass(c: GatewayContext, counted: Counted, tier: Tier | "off", key: string, what: string): Soon<void> {
    if (tier === "off") return undefined;
    return andThen(limiters[counted][tier].limit({ key }), ({ success }) => {
      if (success) return;
      const { limit, period } = tiers[tier];
      const most = counted === "ip" ? limit * ipFactor : limit;
      refuse(c, { allowed: false, limit: most, remaining: 0, resetMs: period * 1000, seconds: period }, what);
    });
  }

  /** Refuses when one of them is used up; else tells the caller of the one that will be first. */
  function settle(c: GatewayContext, taken: readonly (Taken | undefined)[], what: string): void {
    const all = taken.filter((each) => each !== undefined);
    const refused = all.filter(({ allowed }) => !allowed).toSorted((a, b) => b.resetMs - a.resetMs);
    if (refused[0]) refuse(c, refused[0], what);
    const [tightest] = all.toSorted((a, b) => a.remaining - b.remaining);
    if (tightest) tell(c, tightest);
  }

  /**
   * Who knows an account's name must not be able to lock its owner out: attempts are counted by account and address together; those by account
   * alone have a wider limit, which does not hold where the account has been logged in to from before.
   */
  async function login(c: GatewayContext, account: string): Promise<() => void> {
    const limits = settings().login;
    const address = await addressKey(c);
    const pair = await pseudonym("account", `${account} address ${address}`);
    const knownKey = `${quotaKeyPrefix}login.known:${pair}`;
    const [byAddress, byPair, known] = await Promise.all([
      take("login.perIp", widened(limits.perIp), address),
      take("login.perAccountAndIp", limits.perAccountAndIp, pair),
      quotas?.isRemembered(knownKey) ?? null,
    ]);
    if (byAddress === null || byPair === null || known === null) return fallBack(c, "login", address);
    settle(c, [byAddress, byPair], things.login);
    if (!known) {
      const byAccount = await take("login.perAccount", limits.perAccount, await pseudonym("account", account));
      if (byAccount === null) return fallBack(c, "login", address);
      settle(c, [byAddress, byPair, byAccount], things.login);
    }
    return () => {
      if (quotas) inBackground(c, quotas.remember(knownKey, knownSeconds));
    };
  }

  async function register(c: GatewayContext, account: string): Promise<() => void> {
    const limits = settings().register;
    const address = await addressKey(c);
    const name = await pseudonym("account", account);
    const [byAddress, byAccount] = await Promise.all([
      take("register.perIp", widened(limits.perIp), address),
      take("register.perAccount", limits.perAccount, name),
    ]);
    if (byAddress === null || byAccount === null) return fallBack(c, "register", address);
    settle(c, [byAddress, byAccount], things.register);
    return nothing;
  }

  /** Without Redis each location counts for itself, in a strict tier by the address. */
  async function fallBack(c: GatewayContext, call: "login" | "register", address: string): Promise<() => void> {
    const tier = settings()[call].withoutRedis;
    await pass(c, "ip", tier, `${call} ${address}`, things[call]);
    return nothing;
  }

  return {
    request(c) {
      const { perUser, perIp } = settings().requests;
      const viewer = viewerKey(c);
      if (viewer === null) return andThen(addressKey(c), (key) => pass(c, "ip", perIp, key, "requests"));
      return andThen(viewer, (key) => pass(c, "user", perUser, key, "requests"));
    },
    async call(c, call, account) {
      if (call === "login") return login(c, nameKeyOf(account));
      if (call === "register") return register(c, nameKeyOf(account));
      const { perUser } = settings()[call];
      const viewer = viewerKey(c);
      const taken =
        viewer === null
          ? await take(`${call}.perUser`, widened(perUser), await addressKey(c))
          : await take(`${call}.perUser`, perUser, await viewer);
      settle(c, [taken ?? undefined], things[call]);
      return nothing;
    },
  };
}

const nothing = () => {};

function refuse(c: GatewayContext, taken: Taken, what: string): never {
  tell(c, taken);
  const wait = Math.max(1, Math.ceil(taken.resetMs / 1000));
  c.set("retryAfter", wait);
  const most = `at most ${taken.limit} in ${taken.seconds} s`;
  throw flickError(Reason.RATE_LIMITED, `Too many ${what} (${most}): try again in ${wait} s.`);
}

/** As draft-ietf-httpapi-ratelimit-headers has them, up to its version 06; the newer form is hardly read by anybody yet. */
function tell(c: GatewayContext, { limit, remaining, resetMs, seconds }: Taken): void {
  c.header("ratelimit-limit", String(limit));
  c.header("ratelimit-remaining", String(remaining));
  c.header("ratelimit-reset", String(Math.max(1, Math.ceil(resetMs / 1000))));
  c.header("ratelimit-policy", `${limit};w=${seconds}`);
}
