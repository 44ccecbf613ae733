import { errors, jwtVerify, SignJWT } from "jose";

/**
 * Tokens with which our own programs prove to each other who they are: HS256 over a secret that only they share, valid for a
 * minute. A user's token is signed with another algorithm by another key, so that neither can pass for the other.
 */
const lifetimeSeconds = 60;
const claims = { issuer: "flick", audience: "flick-services" };
const typ = "flick-service+jwt";

/** Makes tokens for one program; a token is used again for half of its life. */
export function createServiceTokenSigner(program: string, secret: string): () => Promise<string> {
  const key = new TextEncoder().encode(secret);
  let token: Promise<string> | undefined;
  let renewAt = 0;
  return () => {
    if (token && Date.now() < renewAt) return token;
    renewAt = Date.now() + (lifetimeSeconds * 1000) / 2;
    token = new SignJWT()
      .setProtectedHeader({ alg: "HS256", typ })
      .setIssuer(claims.issuer)
      .setAudience(claims.audience)
      .setSubject(program)
      .setIssuedAt()
      .setExpirationTime(`${lifetimeSeconds}s`)
      .sign(key);
    return token;
  };
}

/** Checks tokens: the program that one belongs to, or null when it is not valid (any more). */
export function createServiceTokenVerifier(secret: string): (token: string) => Promise<string | null> {
  const key = new TextEncoder().encode(secret);
  return async (token) => {
    try {
      const { payload } = await jwtVerify(token, key, {
        ...claims,
        typ,
        algorithms: ["HS256"],
        requiredClaims: ["exp", "sub"],
        clockTolerance: 5,
      });
      return payload.sub ?? null;
    } catch (error) {
      if (error instanceof errors.JOSEError) return null;
      throw error;
    }
  };
}
