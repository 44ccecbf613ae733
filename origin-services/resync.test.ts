import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { tokenRevocations } from "@flick/db/schema/token-revocation.ts";
import { users } from "@flick/db/schema/user.ts";
import { encodeRevocation, revocationsKey } from "@flick/platform/access-token/revocations.ts";
import { feedGenerations } from "@flick/proto/feed-cache.ts";
import { RedisClient } from "bun";
import { eq } from "drizzle-orm";

import { cacheKeys, isCacheKey, leaseOf } from "./cache-keys.ts";
import { startTestOrigin, type TestOrigin } from "./testing.ts";

setDefaultTimeout(60_000);

let origin: TestOrigin;
let redis: RedisClient;
beforeAll(async () => {
  origin = await startTestOrigin();
  redis = new RedisClient(origin.redisUrl);
});
afterAll(async () => {
  redis.close();
  await origin.stop();
});

test("a resync makes good what changes should have done that nobody has heard of", async () => {
  const ann = await origin.signUp();
  const others = ["config::gateway", "limit::x", "log::cdc.users", "edge::feed::lease::x"];
  await Promise.all(others.map((key) => redis.set(key, "kept")));
  for (let id = 1; id <= 3_000; id++) void redis.set(cacheKeys.videoCounts(id), "stale");
  const signature = async () =>
    (await origin.as(ann.token).user.getUser({ userId: BigInt(ann.userId) })).user?.signature;
  const old = await signature();
  await origin.db.update(users).set({ signature: "new" }).where(eq(users.id, ann.userId));
  expect(await signature()).toBe(old);
  const expiresAt = Date.now() + 60_000;
  const revoked = { id: 1, userId: ann.userId, jti: "lost", generation: 0, expiresAt };
  await origin.db.insert(tokenRevocations).values([revoked, { ...revoked, id: 2, jti: "old", expiresAt: 1 }]);
  const generations = () => Promise.all(Object.values(feedGenerations).map((key) => redis.get(key)));
  const before = await generations();

  expect(await run()).toMatchObject({ exitCode: 0, output: expect.stringContaining("1 revoked tokens") });

  expect(await signature()).toBe("new");
  expect(await redis.send("KEYS", ["videoCount::*"])).toEqual([]);
  expect(await Promise.all(others.map((key) => redis.get(key)))).toEqual(others.map(() => "kept"));
  expect(await redis.send("ZRANGE", [revocationsKey, "0", "-1"])).toEqual([encodeRevocation(revoked)]);
  const after = await generations();
  expect(after.every((text, at) => text !== null && text !== before[at])).toBe(true);
});

test("a resync without Redis says so and fails", async () => {
  const { exitCode, errors } = await run({ REDIS_URL: "redis://127.0.0.1:1" });
  expect(exitCode).toBe(1);
  expect(errors).toContain("Redis");
});

test("every key of the cache is known as one, and no other key", () => {
  for (const keyOf of Object.values(cacheKeys)) expect(isCacheKey(keyOf(1_700_000_000_000, 2))).toBe(true);
  for (const key of [leaseOf("user::1"), "origins", "auth::revoked", "config::origin", "users::1"])
    expect(isCacheKey(key)).toBe(false);
});

async function run(env: Record<string, string> = {}) {
  const child = Bun.spawn([process.execPath, "--no-env-file", join(import.meta.dir, "resync.ts")], {
    env: { PATH: process.env["PATH"] ?? "", MYSQL_URL: origin.mysqlUrl, REDIS_URL: origin.redisUrl, ...env },
    stdout: "pipe",
    stderr: "pipe",
    timeout: 30_000,
  });
  const [output, errors, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { output, errors, exitCode };
}
