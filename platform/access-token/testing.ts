import {
  base64url,
  exportJWK,
  exportPKCS8,
  generateKeyPair,
  SignJWT,
  UnsecuredJWT,
  type CryptoKey,
  type JWK,
  type JWTPayload,
} from "jose";

import { createServiceTokenSigner } from "../service-token.ts";
import { createTokenIssuer, type TokenSubject } from "./access-token.ts";

/** Somebody who issues tokens in a test, and can sign whatever else with the same key. */
export interface Authority {
  kid: string;
  privateKey: CryptoKey;
  publicJwk: JWK;
  /** As the user service keeps it in its file. */
  privateKeyFile: string;
  /** As it is published. */
  keySet: string;
  issue(subject?: Partial<TokenSubject>): Promise<string>;
  /** A token that is good but for the changes; `undefined` leaves a claim or a header parameter out. */
  sign(changes?: object, header?: object): Promise<string>;
}

export async function createAuthority(kid: string): Promise<Authority> {
  const pair = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  const { privateKey } = pair;
  const publicJwk = { ...(await exportJWK(pair.publicKey)), kid, alg: "EdDSA", use: "sig" };
  const issue = createTokenIssuer({
    signingKey: () => Promise.resolve({ kid, key: privateKey }),
    lifetimeSeconds: 600,
  });
  return {
    kid,
    privateKey,
    publicJwk,
    privateKeyFile: JSON.stringify({ ...(await exportJWK(privateKey)), kid }),
    keySet: JSON.stringify({ keys: [publicJwk] }),
    issue: (subject) => issue({ userId: 42, generation: 0, ...subject }),
    sign: (changes = {}, header = {}) => signText(privateKey, { ...headerOf(kid), ...header }, claims(changes)),
  };
}

const seconds = () => Math.floor(Date.now() / 1000);
const headerOf = (kid: string) => ({ alg: "EdDSA", typ: "at+jwt", kid });

function claims(changes: object = {}): JWTPayload {
  const good = { iss: "flick", aud: "flick", sub: "42", jti: crypto.randomUUID(), gen: 0 };
  return { ...good, iat: seconds(), exp: seconds() + 600, ...changes };
}

const part = (value: unknown) =>
  base64url.encode(typeof value === "string" || value instanceof Uint8Array ? value : JSON.stringify(value));

/** Signs what no library would: texts as they are, and parameters that it does not know. */
async function signText(key: CryptoKey, header: unknown, payload: unknown): Promise<string> {
  const signed = `${part(header)}.${part(payload)}`;
  const signature = await crypto.subtle.sign("Ed25519", key, new TextEncoder().encode(signed));
  return `${signed}.${base64url.encode(new Uint8Array(signature))}`;
}

/**
 * Tokens that nobody may take for the one of user 42, by what is wrong with them: RFC 8725's attacks and some more. Each is made by real
 * cryptography, and all but those of strangers are signed with our own key, so that nothing else is wrong with them.
 *
 * @param serviceSecret what our programs' own tokens are signed with.
 */
export function forgeries(ours: Authority, serviceSecret: string): Record<string, () => Promise<string> | string> {
  const { kid, publicJwk, sign } = ours;
  const header = headerOf(kid);
  const x = publicJwk.x ?? "";
  const stranger = () => createAuthority(kid);
  const hmac = (secret: Uint8Array) =>
    new SignJWT(claims()).setProtectedHeader({ ...header, alg: "HS256" }).sign(secret);
  const foreign = async (alg: string) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return new SignJWT(claims()).setProtectedHeader({ ...header, alg }).sign(privateKey);
  };
  const parts = async () => (await ours.issue()).split(".") as [string, string, string];
  return {
    "no algorithm": () => new UnsecuredJWT(claims()).encode(),
    "no algorithm, our header and a signature": async () =>
      `${part({ ...header, alg: "none" })}.${part(claims())}.${(await parts())[2]}`,
    "no algorithm in another spelling": () => `${part({ ...header, alg: "nOnE" })}.${part(claims())}.`,
    "no signature": async () => (await parts()).with(2, "").join("."),
    "an HMAC with the public key for a secret": () => hmac(base64url.decode(x)),
    "an HMAC with the published key's text": () => hmac(new TextEncoder().encode(JSON.stringify(publicJwk))),
    "an RSA signature under our key's name": () => foreign("RS256"),
    "an ECDSA signature under our key's name": () => foreign("ES256"),
    "our algorithm by its other name": () => sign({}, { alg: "Ed25519" }),
    "a stranger's signature under our key's name": async () => (await stranger()).issue(),
    "a key that we do not know": async () => (await createAuthority("unknown")).issue(),
    "no name of a key": () => sign({}, { kid: undefined }),
    "a name of a key that is a path": () => sign({}, { kid: "../../../../dev/null".repeat(4) }),
    "a key that it brings itself": async () => {
      const other = await stranger();
      return other.sign({}, { jwk: other.publicJwk });
    },
    "our own key, brought along": () => sign({}, { jwk: publicJwk }),
    "a link to its keys": async () => (await stranger()).sign({}, { jku: "http://127.0.0.1:9/keys" }),
    "a link to keys beside our signature": () => sign({}, { jku: "http://127.0.0.1:9/keys" }),
    "a link to a certificate": () => sign({}, { x5u: "http://127.0.0.1:9/certificate" }),
    "a certificate": async () => {
      const { privateKey } = await generateKeyPair("RS256", { extractable: true });
      return sign({}, { x5c: [(await exportPKCS8(privateKey)).replaceAll(/-----.*-----|\s/g, "").slice(0, 100)] });
    },
    "a header parameter that must be understood": () => sign({}, { crit: ["exp"], exp: 1 }),
    "a payload that is not encoded": () => sign({}, { crit: ["b64"], b64: true }),
    "a compressed payload": () => sign({}, { zip: "DEF" }),
    "two subjects": () => signText(ours.privateKey, header, JSON.stringify(claims()).replace("{", `{"sub":"7",`)),
    "two expiries": () =>
      signText(ours.privateKey, header, JSON.stringify(claims({ exp: 1 })).replace("}", `,"exp":${seconds() + 60}}`)),
    "two algorithms": () => signText(ours.privateKey, JSON.stringify(header).replace("{", `{"alg":"none",`), claims()),
    "white space in its JSON": () => signText(ours.privateKey, header, JSON.stringify(claims(), null, 1)),
    "claims that are no object": () => signText(ours.privateKey, header, "[]"),
    "claims that are no JSON": () => signText(ours.privateKey, header, "rubbish"),
    "claims that are no UTF-8": () => {
      const bytes = new TextEncoder().encode(JSON.stringify(claims({ note: "?" })));
      return signText(ours.privateKey, header, bytes.with(bytes.indexOf(0x3f), 0xff));
    },
    "an expiry in the past": () => sign({ iat: seconds() - 600, exp: seconds() - 1 }),
    "no expiry": () => sign({ exp: undefined }),
    "an expiry that is a text": () => sign({ exp: String(seconds() + 60) }),
    "a time of issue in the future": () => sign({ iat: seconds() + 60 }),
    "no time of issue": () => sign({ iat: undefined }),
    "a beginning in the future": () => sign({ nbf: seconds() + 60 }),
    "another audience": () => sign({ aud: "flick-services" }),
    "several audiences": () => sign({ aud: ["flick", "flick-services"] }),
    "no audience": () => sign({ aud: undefined }),
    "another issuer": () => sign({ iss: "somebody" }),
    "no issuer": () => sign({ iss: undefined }),
    "the type of other tokens": () => sign({}, { typ: "JWT" }),
    "the type of our services' tokens": () => sign({}, { typ: "flick-service+jwt" }),
    "no type": () => sign({}, { typ: undefined }),
    "no subject": () => sign({ sub: undefined }),
    "a subject that is no id": () => sign({ sub: "42abc" }),
    "a subject that is a number": () => sign({ sub: 42 }),
    "a subject beyond 53 bits": () => sign({ sub: "9007199254740993" }),
    "no id": () => sign({ jti: undefined }),
    "an id that is too long": () => sign({ jti: "a".repeat(65) }),
    "no generation": () => sign({ gen: undefined }),
    "1 KB of claims": () => sign({ note: "x".repeat(1024) }),
    "4 000 characters": () => "a".repeat(4_000),
    "no dots": () => "rubbish",
    "a dot too many": async () => `${await ours.issue()}.`,
    "five parts, as if encrypted": async () => `${await ours.issue()}.AAAA.AAAA`,
    "nothing between its dots": () => "..",
    padding: async () => `${await ours.issue()}==`,
    "a key that was taken out": async () => (await createAuthority("retired")).issue(),
    "a changed signature": async () => {
      const [head, payload, signature] = await parts();
      return `${head}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
    },
    "other claims under its signature": async () => (await parts()).with(1, part(claims({ sub: "1" }))).join("."),
    "another spelling of its signature": async () => {
      const [head, payload, signature] = await parts();
      // The last of 86 characters holds two bits of the signature and four that mean nothing.
      const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
      const last = alphabet.indexOf(signature.at(-1) ?? "");
      return `${head}.${payload}.${signature.slice(0, -1)}${alphabet[last + 1]}`;
    },
    "the name of one of our programs": () => createServiceTokenSigner("42", serviceSecret)(),
  };
}
