import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { base64url, errors, jwtVerify, type CryptoKey } from "jose";
import * as v from "valibot";

import type { KeepAlive, Refreshed } from "../refreshed.ts";
import { tokenFormat, type AccessToken } from "./access-token.ts";
import type { KeySet } from "./keys.ts";

export interface TokenVerifierOptions {
  keys: Refreshed<KeySet>;
  /**
   * Has the token been revoked?
   *
   * @param checkedAt when that was last denied for certain (milliseconds since 1970, at most 5 min ago), null when it is seen for the first time.
   */
  isRevoked: (token: AccessToken, checkedAt: number | null, keepAlive?: KeepAlive) => Promise<boolean>;
  now?: () => number;
}

export interface TokenVerifier {
  /**
   * @throws UNAUTHENTICATED, in the same words whatever is wrong with the token; UNAVAILABLE when it cannot be judged because the keys
   * cannot be had.
   */
  verify(token: string, keepAlive?: KeepAlive): Promise<AccessToken>;
  /** How many tokens it remembers, at most 10 000. */
  remembered(): number;
}

const maxTokenLength = 1024;
const maxRemembered = 10_000;
/** After it a token is verified as if it were new. */
export const rememberMs = 5 * 60_000;
/** Our clocks may differ by this much; expiry is not stretched by it. */
const clockSkewMs = 5_000;

/**
 * Verifies access tokens as RFC 8725 demands: one algorithm, one type, one issuer, one audience, keys by their id out of our own set and
 * never out of the token. It takes nothing that our issuer would not have written: not a header parameter more than its
 * three, no claim twice, no second spelling of the same bytes.
 *
 * Tokens that were good are remembered until they expire, five minutes at most, or until their key is no longer in the set.
 */
export function createTokenVerifier({ keys, isRevoked, now = Date.now }: TokenVerifierOptions): TokenVerifier {
  const remembered = new Map<string, Remembered>();

  return {
    async verify(token, keepAlive) {
      const known = recall(token);
      const kid = known?.kid ?? readKid(token);
      const keySet = await keys.get(keepAlive);
      if (!keySet) throw unavailable();
      if (known && keySet.has(kid)) {
        if (!(await isRevoked(known.access, known.verifiedAt, keepAlive))) return known.access;
        remembered.delete(token);
        throw invalid();
      }
      remembered.delete(token);
      const verifiedAt = now();
      const access = await readToken(token, keySet.get(kid) ?? (await newKey(kid, keepAlive)), verifiedAt);
      if (await isRevoked(access, null, keepAlive)) throw invalid();
      remember(token, { access, kid, verifiedAt });
      return access;
    },
    remembered: () => remembered.size,
  };

  function recall(token: string): Remembered | undefined {
    const known = remembered.get(token);
    if (!known || (known.access.expiresAt > now() && known.verifiedAt + rememberMs > now())) return known;
    remembered.delete(token);
    return undefined;
  }

  function remember(token: string, entry: Remembered): void {
    const [oldest] = remembered.keys();
    if (remembered.size >= maxRemembered && oldest !== undefined) remembered.delete(oldest);
    remembered.set(token, entry);
  }

  /** A key that came into the set after we got it last. */
  async function newKey(kid: string, keepAlive: KeepAlive | undefined): Promise<CryptoKey> {
    const keySet = await keys.renew(keepAlive);
    if (!keySet) throw unavailable();
    const key = keySet.get(kid);
    if (!key) throw invalid();
    return key;
  }
}

interface Remembered {
  access: AccessToken;
  kid: string;
  verifiedAt: number;
}

const header = v.strictObject({
  alg: v.literal(tokenFormat.alg),
  typ: v.literal(tokenFormat.typ),
  kid: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,64}$/)),
});

const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const claims = v.object({
  iss: v.literal(tokenFormat.issuer),
  aud: v.literal(tokenFormat.audience),
  sub: v.pipe(v.string(), v.regex(/^[1-9]\d{0,15}$/), v.transform(Number), v.safeInteger()),
  jti: v.pipe(v.string(), v.regex(/^[A-Za-z0-9-]{16,64}$/)),
  gen: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  iat: seconds,
  exp: seconds,
});

/** What can be told without a key. */
function readKid(token: string): string {
  if (token.length > maxTokenLength) throw invalid();
  const parts = token.split(".");
  const [head = "", payload = "", signature = ""] = parts;
  if (parts.length !== 3) throw invalid();
  readJson(payload);
  decode(signature);
  const read = v.safeParse(header, readJson(head));
  if (!read.success) throw invalid();
  return read.output.kid;
}

async function readToken(token: string, key: CryptoKey, now: number): Promise<AccessToken> {
  const { alg, typ, issuer, audience } = tokenFormat;
  try {
    const currentDate = new Date(now);
    const { payload } = await jwtVerify(token, key, { algorithms: [alg], typ, issuer, audience, currentDate });
    const read = v.safeParse(claims, payload);
    if (!read.success || read.output.iat * 1000 > now + clockSkewMs) throw invalid();
    const { sub: userId, jti, gen: generation, exp } = read.output;
    return { userId, jti, generation, expiresAt: exp * 1000 };
  } catch (error) {
    if (error instanceof errors.JOSEError) throw invalid();
    throw error;
  }
}

/**
 * JSON.parse takes the last of two members of one name, where another reader may take the first: nothing is taken but what
 * JSON.stringify writes.
 */
function readJson(part: string): unknown {
  const bytes = decode(part);
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw invalid();
  }
  if (JSON.stringify(value) !== text) throw invalid();
  return value;
}

/** Several texts decode to the same bytes, since the last character's spare bits are ignored: only one of them is taken. */
function decode(part: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = base64url.decode(part);
  } catch {
    throw invalid();
  }
  if (base64url.encode(bytes) !== part) throw invalid();
  return bytes;
}

const invalid = () => flickError(Reason.UNAUTHENTICATED, "the token is not valid: sign in again");
const unavailable = () => flickError(Reason.UNAVAILABLE, "tokens cannot be verified at the moment: try again");
