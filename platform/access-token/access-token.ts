import { SignJWT, type CryptoKey } from "jose";

/** What every access token says of itself. The type is RFC 9068's, so that no other kind of token (RFC 8725, section 3.11) passes for one. */
export const tokenFormat = { alg: "EdDSA", typ: "at+jwt", issuer: "flick", audience: "flick" } as const;

/** An access token that was verified. */
export interface AccessToken {
  userId: number;
  /** Names this token, and is no secret: with it nobody can sign in. */
  jti: string;
  /** How often its user had logged out everywhere when it was issued. */
  generation: number;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

export interface SigningKey {
  kid: string;
  key: CryptoKey;
}

/** Whom a token is for; `generation` as in {@link AccessToken}. */
export interface TokenSubject {
  userId: number;
  generation: number;
}

/** Signs access tokens, each with the key that signs at that time. */
export function createTokenIssuer(options: {
  signingKey: () => Promise<SigningKey>;
  lifetimeSeconds: number;
  now?: () => number;
}): (subject: TokenSubject) => Promise<string> {
  const { signingKey, lifetimeSeconds, now = Date.now } = options;
  return async ({ userId, generation }) => {
    const { kid, key } = await signingKey();
    const issuedAt = Math.floor(now() / 1000);
    return new SignJWT({ gen: generation })
      .setProtectedHeader({ alg: tokenFormat.alg, typ: tokenFormat.typ, kid })
      .setIssuer(tokenFormat.issuer)
      .setAudience(tokenFormat.audience)
      .setSubject(String(userId))
      .setJti(crypto.randomUUID())
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + lifetimeSeconds)
      .sign(key);
  };
}
