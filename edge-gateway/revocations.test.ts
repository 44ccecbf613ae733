import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startGateway, type Gateway } from "@flick/dev/gateway.ts";
import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { startTestFront, token as frontToken, type TestFront } from "@flick/dev/upstash-front/testing.ts";
import { encodeRevocation, revocationsKey } from "@flick/platform/access-token/revocations.ts";
import { RedisClient } from "bun";
import { decodeJwt } from "jose";

import { authority, startFixtureOrigin, type FixtureOrigin } from "./testing.ts";

setDefaultTimeout(60_000);

let dir: string;
let redis: TestServer;
let client: RedisClient;
let front: TestFront;
let origin: FixtureOrigin;
/** Two locations of the edge, and one that has no Redis. All of them are in front of an origin that refuses nothing. */
let gateways: [Gateway, Gateway, Gateway];
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-revocations-"));
  redis = await startRedis({ dir });
  client = new RedisClient(redis.url);
  front = startTestFront(redis.url);
  origin = startFixtureOrigin();
  origin.answer({ getUser: () => ({}) });
  const shared = { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: frontToken };
  const start = (vars: Record<string, string>) =>
    startGateway({ vars: { ORIGIN_URL: origin.url, ...vars }, log: () => {} });
  gateways = [await start(shared), await start(shared), await start({})];
});
afterAll(async () => {
  await Promise.all(gateways.map((gateway) => gateway.stop()));
  await origin.stop();
  await front.stop();
  client.close();
  await redis.stop();
  await rm(dir, { recursive: true, force: true });
});

const call = async (gateway: Gateway, token: string) =>
  (await fetch(`${gateway.url}/douyin/user/`, { headers: { authorization: `Bearer ${token}` }, keepalive: false }))
    .status;
const atBoth = (token: string) => Promise.all([call(gateways[0], token), call(gateways[1], token)]);

let revocations = 0;

/** Tells the edge, as the user service does. */
async function revoke(revocation: { userId: number; jti?: string; generation?: number }): Promise<void> {
  const expiresAt = Date.now() + 600_000;
  const member = encodeRevocation({ id: ++revocations, jti: "", generation: 0, expiresAt, ...revocation });
  await client.send("ZADD", [revocationsKey, String(Date.now()), member]);
}

async function untilRefused(token: string): Promise<number> {
  const began = Date.now();
  while ((await atBoth(token)).some((status) => status !== 401)) {
    if (Date.now() - began > 20_000) throw new Error("it is still taken");
    await Bun.sleep(50);
  }
  return Date.now() - began;
}

test("a token that was logged out is refused by every location within five seconds, and no other one", async () => {
  const [token, other] = [await authority.issue(), await authority.issue()];
  expect(await atBoth(token)).toEqual([200, 200]);
  await revoke({ userId: 42, jti: String(decodeJwt(token).jti) });
  expect(await untilRefused(token)).toBeLessThan(5_000);
  expect(await atBoth(other)).toEqual([200, 200]);
  expect(await call(gateways[2], token)).toBe(200);
});

test("so is every token of an earlier generation, of that user", async () => {
  const [zero, one, two] = await Promise.all([0, 1, 2].map((generation) => authority.issue({ userId: 7, generation })));
  const other = await authority.issue({ userId: 8 });
  for (const token of [zero, one, two]) expect(await atBoth(token ?? "")).toEqual([200, 200]);
  await revoke({ userId: 7, generation: 2 });
  for (const token of [zero, one]) expect(await untilRefused(token ?? "")).toBeLessThan(5_000);
  for (const token of [two, other]) expect(await atBoth(token ?? "")).toEqual([200, 200]);
});

test("a location that has been quiet asks before it answers", async () => {
  const token = await authority.issue();
  expect(await atBoth(token)).toEqual([200, 200]);
  await revoke({ userId: 42, jti: String(decodeJwt(token).jti) });
  await Bun.sleep(4_500);
  expect(await Promise.all([token, token, token].flatMap(atBoth))).toEqual([
    [401, 401],
    [401, 401],
    [401, 401],
  ]);
});

test("while Redis is away the last is still known and all others are taken; when it is back, so is what was missed", async () => {
  const [known, missed, other] = [await authority.issue(), await authority.issue(), await authority.issue()];
  await revoke({ userId: 42, jti: String(decodeJwt(known).jti) });
  await untilRefused(known);
  await redis.kill();
  await Bun.sleep(4_500);
  for (let round = 0; round < 5; round++) {
    expect(await atBoth(known)).toEqual([401, 401]);
    expect(await atBoth(missed)).toEqual([200, 200]);
    await Bun.sleep(500);
  }
  await redis.start();
  client.close();
  client = new RedisClient(redis.url);
  await revoke({ userId: 42, jti: String(decodeJwt(missed).jti) });
  await untilRefused(missed);
  expect(await atBoth(known)).toEqual([401, 401]);
  expect(await atBoth(other)).toEqual([200, 200]);
});

test("what else lies in the set is passed over", async () => {
  const token = await authority.issue();
  await client.send("ZADD", [revocationsKey, String(Date.now()), "rubbish", String(Date.now()), "1:2:3"]);
  await revoke({ userId: 42, jti: String(decodeJwt(token).jti) });
  expect(await untilRefused(token)).toBeLessThan(5_000);
});
