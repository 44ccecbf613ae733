import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { startGateway, type Gateway } from "@flick/dev/gateway.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
import { decodeProtectedHeader } from "jose";

import { atFullSpeed, runStack, type RunningStack } from "./running-stack.ts";

setDefaultTimeout(90_000);

let flick: RunningStack;
/** Another location of the edge, and how many calls it has passed on. */
let second: Gateway;
let passedOn = 0;
let stopProxy: () => Promise<void>;
beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
  const proxy = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { pathname, search } = new URL(request.url);
      if (pathname !== publicKeysPath) passedOn++;
      return fetch(`${flick.stack.urls.origin}${pathname}${search}`, request);
    },
  });
  stopProxy = () => proxy.stop(true);
  const { upstashToken } = (await Bun.file(flick.stack.secretsFile).json()) as { upstashToken: string };
  second = await startGateway({
    vars: {
      ORIGIN_URL: proxy.url.origin,
      UPSTASH_REDIS_REST_URL: flick.stack.urls.upstash,
      UPSTASH_REDIS_REST_TOKEN: upstashToken,
      IP_LIMIT_FACTOR: "1000",
    },
    log: () => {},
  });
});
afterAll(async () => {
  await second.stop();
  await stopProxy();
  await flick.stop();
}, 30_000);

const call = async (gateway: string, path: string, token: string, method = "GET") =>
  (await fetch(`${gateway}/douyin${path}`, { method, headers: { authorization: `Bearer ${token}` } })).status;
const first = (token: string) => call(flick.url, "/user/", token);
const other = (token: string) => call(second.url, "/user/", token);
const logout = (token: string, everywhere = "") => call(flick.url, `/user/logout/${everywhere}`, token, "POST");
const logIn = async (name: string) => (await flick.api.login(name, "a good password")).token;

/** Until a location refuses a token without asking the origin. */
async function untilRefusedByItself(token: string): Promise<number> {
  const began = Date.now();
  while (Date.now() - began < 20_000) {
    const before = passedOn;
    if ((await other(token)) === 401 && passedOn === before) return Date.now() - began;
    await Bun.sleep(50);
  }
  throw new Error("it was never refused");
}

test("who logs out is logged out at another location within five seconds, there and then, and only with this token", async () => {
  const { token, name } = await flick.signUp();
  const kept = await logIn(name);
  expect([await first(token), await other(token), await other(kept)]).toEqual([200, 200, 200]);
  expect(await logout(token)).toBe(200);
  expect(await first(token)).toBe(401);
  expect(await untilRefusedByItself(token)).toBeLessThan(5_000);
  expect([await first(kept), await other(kept)]).toEqual([200, 200]);
  expect(await logout(token)).toBe(401);
});

test("who logs out everywhere and in again at the same moment is in by the new token only", async () => {
  const { token, name } = await flick.signUp();
  const tokens = [token, await logIn(name)];
  for (const each of tokens) expect([await first(each), await other(each)]).toEqual([200, 200]);
  expect(await logout(await logIn(name), "all/")).toBe(200);
  const fresh = await logIn(name);
  expect([await first(fresh), await other(fresh)]).toEqual([200, 200]);
  for (const each of tokens) {
    expect(await first(each)).toBe(401);
    expect(await untilRefusedByItself(each)).toBeLessThan(5_000);
  }
  expect([await first(fresh), await other(fresh)]).toEqual([200, 200]);
});

test("rotating the keys by its command refuses nobody", async () => {
  const { token, name } = await flick.signUp();
  const kidOf = (each: string) => decodeProtectedHeader(each).kid;
  const command = Bun.spawn([process.execPath, join(import.meta.dir, "../origin-services/keys.ts"), "rotate"], {
    env: { ...process.env, FLICK_DATA_DIR: join(flick.dir, "data") },
    stdout: "pipe",
    stderr: "pipe",
  });
  expect([await command.stderr.text(), await command.exited]).toEqual(["", 0]);
  const listed = await command.stdout.text();
  expect(listed).toContain("signing");
  expect(listed).toContain("next");
  const { keys } = (await Bun.file(join(flick.dir, "data/secrets/jwt.json")).json()) as { keys: { d: string }[] };
  expect(keys.map(({ d }) => listed.includes(d))).toEqual([false, false]);
  const began = Date.now();
  let fresh = await logIn(name);
  while (kidOf(fresh) === kidOf(token) && Date.now() - began < 30_000) {
    expect([await first(fresh), await other(fresh), await other(token)]).toEqual([200, 200, 200]);
    await Bun.sleep(50);
    fresh = await logIn(name);
  }
  expect(kidOf(fresh)).not.toBe(kidOf(token));
  expect([await first(fresh), await other(fresh), await first(token), await other(token)]).toEqual([
    200, 200, 200, 200,
  ]);
});
