import { expect, test } from "bun:test";

import { tiers, type Tier } from "./limit-policies.ts";
import { limiterBinding, tierLimiters } from "./tier-limiters.ts";

interface Binding {
  name: string;
  namespace_id: string;
  simple: { limit: number; period: number };
}

const wrangler = Bun.TOML.parse(await Bun.file(new URL("../wrangler.toml", import.meta.url)).text()) as {
  ratelimits: Binding[];
  env: Record<string, { ratelimits: Binding[] }>;
};
const environments: [string, Binding[]][] = [
  ["the default", wrangler.ratelimits],
  ...Object.entries(wrangler.env).map(([name, { ratelimits }]): [string, Binding[]] => [name, ratelimits]),
];

test.each(environments)(
  "%s environment binds every tier, with the numbers that the code tells clients",
  (_name, bound) => {
    const expected = (["user", "ip"] as const).flatMap((counted) =>
      (Object.keys(tiers) as Tier[]).map((tier) => ({ name: limiterBinding(counted, tier), simple: tiers[tier] })),
    );
    expect(bound.map(({ name, simple }) => ({ name, simple }))).toEqual(expected);
  },
);

test("no two bindings count together", () => {
  const ids = environments.flatMap(([, bound]) => bound.map(({ namespace_id }) => namespace_id));
  expect(new Set(ids).size).toBe(ids.length);
});

test("what the runtime binds is used, and the rest is counted in memory, by address as often as the factor says", async () => {
  const bound = { limit: async () => ({ success: false }) };
  const missing: string[] = [];
  const limiters = tierLimiters(
    { LIMIT_USER_LOW: bound },
    { ipFactor: 3, onMissing: (names) => missing.push(...names) },
  );
  expect(missing).toHaveLength(7);
  expect(missing).not.toContain("LIMIT_USER_LOW");
  expect(limiters.user.low).toBe(bound);
  const strict = async (counted: "user" | "ip") => {
    let passed = 0;
    while (passed < 100 && (await limiters[counted].strict.limit({ key: "k" })).success) passed++;
    return passed;
  };
  expect([await strict("user"), await strict("ip")]).toEqual([10, 30]);
});
