import { expect, setDefaultTimeout, test } from "bun:test";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { createRefreshed } from "../refreshed.ts";
import type { AccessToken } from "./access-token.ts";
import { fixedKeys, readKeySet } from "./keys.ts";
import { createAuthority, forgeries } from "./testing.ts";
import { createTokenVerifier } from "./verify.ts";

setDefaultTimeout(60_000);

const ours = await createAuthority("one");
const keys = fixedKeys(await readKeySet(ours.keySet));
const notRevoked = () => Promise.resolve(false);
const { verify } = createTokenVerifier({ keys, isRevoked: notRevoked });

/** What verifying came to. */
const outcome = (verified: Promise<AccessToken>) =>
  verified.then(
    ({ userId }) => `user ${userId}`,
    (error: Error) => `${Reason[reasonOf(error)]}: ${error.message}`,
  );

const refused = "UNAUTHENTICATED: [unauthenticated] the token is not valid: sign in again";

test("a token that we issued gives back what it was issued for, again and again", async () => {
  const token = await ours.issue({ userId: 7_312_345_678_900_001, generation: 3 });
  for (let turn = 0; turn < 3; turn++) {
    const { userId, generation, jti, expiresAt } = await verify(token);
    expect([userId, generation]).toEqual([7_312_345_678_900_001, 3]);
    expect(jti).toMatch(/^[0-9a-f-]{36}$/);
    expect(expiresAt - Date.now()).toBeGreaterThan(590_000);
    expect(expiresAt - Date.now()).toBeLessThanOrEqual(600_000);
  }
});

test("what the forgeries change is all that is wrong with them", async () => {
  expect(await outcome(verify(await ours.sign()))).toBe("user 42");
});

test.each(Object.entries(forgeries(ours, "a secret that is shared by programs")))(
  "a token with %s is refused in the same words",
  async (_what, forge) => {
    const token = await forge();
    // Twice, because what was refused must not be remembered as good.
    expect(await outcome(verify(token))).toBe(refused);
    expect(await outcome(verify(token))).toBe(refused);
  },
);

test("a token in which any single character is another one is refused", async () => {
  const token = await ours.issue();
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0é";
  const taken: string[] = [];
  for (let at = 0; at < token.length; at++) {
    for (const other of alphabet) {
      if (other === token[at]) continue;
      const changed = token.slice(0, at) + other + token.slice(at + 1);
      if ((await outcome(verify(changed))) !== refused) taken.push(`${at}: ${other}`);
    }
  }
  expect(taken).toEqual([]);
  expect(await outcome(verify(token))).toBe("user 42");
});

test("a token that was good is refused from the moment in which it expires", async () => {
  let now = Date.now();
  const verifier = createTokenVerifier({ keys, isRevoked: notRevoked, now: () => now });
  const token = await ours.issue();
  const { expiresAt } = await verifier.verify(token);
  now = expiresAt - 1;
  expect(await outcome(verifier.verify(token))).toBe("user 42");
  now = expiresAt;
  expect(await outcome(verifier.verify(token))).toBe(refused);
  expect(verifier.remembered()).toBe(0);
});

test("clocks may differ by a few seconds", async () => {
  const nowS = Math.floor(Date.now() / 1000);
  expect(await outcome(verify(await ours.sign({ iat: nowS + 3 })))).toBe("user 42");
  expect(await outcome(verify(await ours.sign({ iat: nowS + 8 })))).toBe(refused);
});

test("a token that was good is refused once it is revoked, and asked about anew after five minutes", async () => {
  let now = Date.now();
  let revoked = false;
  const asked: (number | null)[] = [];
  const isRevoked = (_token: AccessToken, checkedAt: number | null) => {
    asked.push(checkedAt);
    return Promise.resolve(revoked);
  };
  const verifier = createTokenVerifier({ keys, isRevoked, now: () => now });
  const token = await ours.issue();
  const began = now;
  await verifier.verify(token);
  now += 299_999;
  await verifier.verify(token);
  now += 1;
  await verifier.verify(token);
  expect(asked).toEqual([null, began, null]);
  revoked = true;
  expect(await outcome(verifier.verify(token))).toBe(refused);
  expect(verifier.remembered()).toBe(0);
  expect(await outcome(verifier.verify(token))).toBe(refused);
});

test("a token that was good is refused once its key is gone, and one of a new key is taken at once", async () => {
  const [first, second] = [await createAuthority("first"), await createAuthority("second")];
  let published = first.keySet;
  let now = Date.now();
  const changing = createRefreshed({
    load: () => readKeySet(published),
    freshMs: 15_000,
    staleMs: 15_000,
    retryMs: 2_000,
    timeoutMs: 1_000,
    now: () => now,
  });
  const verifier = createTokenVerifier({ keys: changing, isRevoked: notRevoked, now: () => now });
  const [old, fresh] = [await first.issue(), await second.issue({ userId: 7 })];
  expect(await outcome(verifier.verify(old))).toBe("user 42");
  published = JSON.stringify({ keys: [first.publicJwk, second.publicJwk] });
  now += 2_000;
  expect(await outcome(verifier.verify(fresh))).toBe("user 7");
  expect(await outcome(verifier.verify(old))).toBe("user 42");
  published = second.keySet;
  now += 15_000;
  expect(await outcome(verifier.verify(old))).toBe(refused);
  expect(await outcome(verifier.verify(fresh))).toBe("user 7");
});

test("without keys a token cannot be judged, unless it is none", async () => {
  const none = { get: () => Promise.resolve(null), renew: () => Promise.resolve(null) };
  const blind = createTokenVerifier({ keys: none, isRevoked: notRevoked });
  const away = "UNAVAILABLE: [unavailable] tokens cannot be verified at the moment: try again";
  expect(await outcome(blind.verify(await ours.issue()))).toBe(away);
  expect(await outcome(blind.verify("rubbish"))).toBe(refused);
  // A key that may have come since, while nobody can be asked.
  const stale = createTokenVerifier({ keys: { ...keys, renew: none.renew }, isRevoked: notRevoked });
  expect(await outcome(stale.verify(await ours.issue()))).toBe("user 42");
  expect(await outcome(stale.verify(await (await createAuthority("newer")).issue()))).toBe(away);
});

test("it remembers 10 000 tokens and no more", async () => {
  const verifier = createTokenVerifier({ keys, isRevoked: notRevoked });
  const tokens = await Promise.all(Array.from({ length: 10_100 }, (_, userId) => ours.issue({ userId: userId + 1 })));
  for (const token of tokens) await verifier.verify(token);
  expect(verifier.remembered()).toBe(10_000);
  expect(await outcome(verifier.verify(tokens[0] ?? ""))).toBe("user 1");
  expect(verifier.remembered()).toBe(10_000);
});
