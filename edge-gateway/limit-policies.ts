import { choice, section, whole } from "@flick/platform/live-config/settings.ts";
import type * as v from "valibot";

/** How many requests the runtime's own limiters let through: their numbers are fixed when the gateway is deployed (wrangler.toml). */
export const tiers = {
  strict: { limit: 10, period: 60 },
  low: { limit: 30, period: 10 },
  normal: { limit: 100, period: 10 },
  high: { limit: 500, period: 10 },
} as const;

export type Tier = keyof typeof tiers;

const tierNames = Object.keys(tiers) as Tier[];
const tierWords = tierNames.map((name) => `${name} is ${tiers[name].limit} in ${tiers[name].period} s`).join(", ");

const tier = (fallback: Tier | "off", what: string) =>
  choice({ default: fallback, of: ["off", ...tierNames], what: `${what}: ${tierWords}` });

/** So many calls in a window that slides along, the same for all locations of the edge. */
const quota = (count: number, seconds: number, what: string) =>
  section({
    count: whole({ default: count, min: 0, max: 1_000_000, what: `${what}; 0 is no limit` }),
    seconds: whole({ default: seconds, min: 1, max: 86_400, what: "the window that they are counted in" }),
  });

export const limitSettings = section({
  requests: section({
    perUser: tier("normal", "requests of a signed-in viewer, in each location"),
    perIp: tier("normal", "requests of an address (IPv6: of a /64) without a viewer, in each location"),
  }),
  login: section({
    perIp: quota(60, 600, "logins from an address, of whatever account"),
    perAccountAndIp: quota(10, 600, "logins to an account from one address"),
    perAccount: quota(60, 3_600, "logins to an account from all addresses that it has not been logged in from"),
    withoutRedis: tier("strict", "logins from an address while Redis is away"),
  }),
  register: section({
    perIp: quota(20, 3_600, "registrations from an address"),
    perAccount: quota(5, 3_600, "registrations of one account name"),
    withoutRedis: tier("strict", "registrations from an address while Redis is away"),
  }),
  publish: section({ perUser: quota(30, 3_600, "videos that a user publishes, or has processed once more") }),
  cover: section({ perUser: quota(60, 3_600, "covers that a user chooses") }),
  profile: section({ perUser: quota(30, 3_600, "times that a user changes their profile") }),
  comment: section({ perUser: quota(30, 60, "comments that a user posts or deletes") }),
  message: section({ perUser: quota(120, 60, "messages that a user sends") }),
  follow: section({ perUser: quota(60, 60, "people that a user follows or unfollows") }),
});

export type LimitSettings = v.InferOutput<typeof limitSettings>;
export type Quota = LimitSettings["comment"]["perUser"];
