import { expect, test } from "bun:test";

import {
  base64url,
  exportJWK,
  generateKeyPair,
  importJWK,
  SignJWT,
  UnsecuredJWT,
  type CryptoKey,
  type JWTPayload,
} from "jose";

import { createTokenIssuer, createTokenVerifier } from "./tokens.ts";

const { privateKey, publicKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
const stranger = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
const publicJwk = { ...(await exportJWK(publicKey)), kid: "one", alg: "EdDSA" };
const verify = createTokenVerifier({ keys: [publicJwk] });
const issue = createTokenIssuer({ kid: "one", key: privateKey }, 60);

const seconds = () => Math.floor(Date.now() / 1000);
const header = { alg: "EdDSA", typ: "at+jwt", kid: "one" };
const claims = (changes: JWTPayload = {}): JWTPayload => ({
  iss: "flick",
  aud: "flick",
  sub: "42",
  iat: seconds(),
  exp: seconds() + 60,
  ...changes,
});
const sign = (payload: JWTPayload, change: Record<string, unknown> = {}, key: CryptoKey | Uint8Array = privateKey) =>
  new SignJWT(payload).setProtectedHeader({ ...header, ...change }).sign(key);
const part = (value: unknown) => base64url.encode(JSON.stringify(value));

test("a token that we issued gives back its user, again and again", async () => {
  const token = await issue(42);
  expect(await verify(token)).toBe(42);
  expect(await verify(token)).toBe(42);
});

test("what the attacks below change is all that is wrong with them", async () => {
  expect(await verify(await sign(claims()))).toBe(42);
});

const attacks: Record<string, () => Promise<string> | string> = {
  "no algorithm": () => new UnsecuredJWT(claims()).encode(),
  "alg none in another spelling": () => `${part({ ...header, alg: "nOnE" })}.${part(claims())}.`,
  "HMAC with the public key": async () => {
    const bytes = base64url.decode(publicJwk.x ?? "");
    return sign(claims(), { alg: "HS256" }, bytes);
  },
  "a foreign key under our kid": () => sign(claims(), {}, stranger.privateKey),
  "a foreign kid": () => sign(claims(), { kid: "two" }, stranger.privateKey),
  "a key that it brings itself": async () =>
    sign(claims(), { kid: "two", jwk: await exportJWK(stranger.publicKey) }, stranger.privateKey),
  "a key that it links to": () => sign(claims(), { kid: "two", jku: "http://127.0.0.1:9/keys" }, stranger.privateKey),
  "an expiry in the past": () => sign(claims({ exp: seconds() - 1 })),
  "no expiry": () => sign({ iss: "flick", aud: "flick", sub: "42", iat: seconds() }),
  "a start in the future": () => sign(claims({ nbf: seconds() + 600 })),
  "another audience": () => sign(claims({ aud: "flick-services" })),
  "another issuer": () => sign(claims({ iss: "somebody" })),
  "another type": () => sign(claims(), { typ: "flick-service+jwt" }),
  "no type": () => sign(claims(), { typ: undefined }),
  "no subject": () => sign(claims({ sub: "" })),
  "a subject that is no id": () => sign(claims({ sub: "42abc" })),
  "a subject beyond 53 bits": () => sign(claims({ sub: "9007199254740993" })),
  "another payload under its signature": async () => {
    const [head, , signature] = (await issue(42)).split(".");
    return `${head}.${part(claims({ sub: "1" }))}.${signature}`;
  },
  "a changed signature": async () => {
    const token = await issue(42);
    return token.slice(0, -3) + (token.at(-3) === "A" ? "B" : "A") + token.slice(-2);
  },
  "an unknown critical header": () => `${part({ ...header, crit: ["x"], x: 1 })}.${part(claims())}.AAAA`,
  "2 000 characters": async () => `${await issue(42)}${"A".repeat(2000)}`,
  "no dots": () => "rubbish",
  "nothing in it": () => "",
};

for (const [name, forge] of Object.entries(attacks)) {
  test(`a token with ${name} is refused`, async () => {
    const token = await forge();
    const outcome = await verify(token).then(
      (userId) => `accepted as ${userId}`,
      (error: Error) => error.message,
    );
    expect(outcome).toMatch(/the token (is not valid|has expired): sign in again/);
  });
}

test("a token that is remembered is refused once it has expired", async () => {
  const token = await createTokenIssuer({ kid: "one", key: privateKey }, 1)(7);
  expect(await verify(token)).toBe(7);
  await Bun.sleep(2100);
  expect(verify(token)).rejects.toThrow("expired");
});

test("the issuer's key can be read back from its JWK", async () => {
  const key = (await importJWK(await exportJWK(privateKey), "EdDSA")) as CryptoKey;
  expect(await verify(await createTokenIssuer({ kid: "one", key }, 60)(9))).toBe(9);
});
