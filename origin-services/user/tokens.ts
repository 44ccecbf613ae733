import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { createLocalJWKSet, errors, jwtVerify, SignJWT, type JSONWebKeySet } from "jose";

import type { SigningKey } from "./keys.ts";

const claims = { issuer: "flick", audience: "flick" };
/** RFC 9068's type, so that no other kind of token (RFC 8725, section 3.11) can pass for an access token. */
const typ = "at+jwt";
const maxTokenLength = 1024;
const maxRemembered = 10_000;

/** Signs access tokens: EdDSA, the user's id as subject. */
export function createTokenIssuer(
  signingKey: SigningKey,
  lifetimeSeconds: number,
): (userId: number) => Promise<string> {
  return (userId) =>
    new SignJWT()
      .setProtectedHeader({ alg: "EdDSA", typ, kid: signingKey.kid })
      .setIssuer(claims.issuer)
      .setAudience(claims.audience)
      .setSubject(String(userId))
      .setIssuedAt()
      .setExpirationTime(Math.floor(Date.now() / 1000) + lifetimeSeconds)
      .sign(signingKey.key);
}

/**
 * Verifies access tokens and remembers the newest 10 000 until they expire.
 *
 * @returns a function that gives the id of the token's user, or throws UNAUTHENTICATED.
 */
export function createTokenVerifier(publicKeys: JSONWebKeySet): (token: string) => Promise<number> {
  const keys = createLocalJWKSet(publicKeys);
  const remembered = new Map<string, { userId: number; expiresAt: number }>();
  return async (token) => {
    const known = remembered.get(token);
    if (known && known.expiresAt > Date.now()) return known.userId;
    remembered.delete(token);
    const verified = await verify(token, keys);
    if (remembered.size >= maxRemembered) remembered.delete(remembered.keys().next().value ?? "");
    remembered.set(token, verified);
    return verified.userId;
  };
}

async function verify(
  token: string,
  keys: ReturnType<typeof createLocalJWKSet>,
): Promise<{ userId: number; expiresAt: number }> {
  if (token.length > maxTokenLength) throw invalid();
  try {
    const { payload } = await jwtVerify(token, keys, {
      ...claims,
      typ,
      algorithms: ["EdDSA"],
      requiredClaims: ["exp", "iat", "sub"],
    });
    const userId = Number(payload.sub);
    if (!Number.isSafeInteger(userId) || userId <= 0) throw invalid();
    return { userId, expiresAt: (payload.exp ?? 0) * 1000 };
  } catch (error) {
    if (error instanceof errors.JWTExpired)
      throw flickError(Reason.UNAUTHENTICATED, "the token has expired: sign in again");
    if (error instanceof errors.JOSEError) throw invalid();
    throw error;
  }
}

const invalid = () => flickError(Reason.UNAUTHENTICATED, "the token is not valid: sign in again");
