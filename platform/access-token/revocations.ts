import type { AccessToken } from "./access-token.ts";

/** One token that its user logged out, or all that were issued before the user logged out everywhere. */
export interface Revocation {
  /** Ids are ordered by time (`db/id.ts`). */
  id: number;
  userId: number;
  /** The token; empty for all of them. */
  jti: string;
  /** With an empty `jti`: tokens of an earlier generation than this. */
  generation: number;
  /** When the last of these tokens expires, milliseconds since 1970. */
  expiresAt: number;
}

/**
 * The newest revocations, for the edge: a sorted set of {@link encodeRevocation} by the time at which they came in (Redis' own,
 * milliseconds since 1970). What does not fit is refused by the origin alone, where every call ends that the edge does not answer itself.
 */
export const revocationsKey = "auth::revoked";
export const maxRevocations = 5_000;

export function encodeRevocation({ id, userId, jti, generation, expiresAt }: Revocation): string {
  return [id, userId, generation, expiresAt, jti].join(":");
}

/** Null for what {@link encodeRevocation} has not written. */
export function decodeRevocation(text: string): Revocation | null {
  const match = /^(\d{1,16}):(\d{1,16}):(\d{1,16}):(\d{1,16}):([A-Za-z0-9-]{0,64})$/.exec(text);
  if (!match) return null;
  const [id = 0, userId = 0, generation = 0, expiresAt = 0] = match.slice(1, 5).map(Number);
  return { id, userId, generation, expiresAt, jti: match[5] ?? "" };
}

/** Revocations to look tokens up in. */
export interface RevocationIndex {
  add(revocation: Revocation): void;
  covers(token: AccessToken): boolean;
  /** Forgets revocations with smaller ids. */
  forgetBefore(id: number): void;
  size(): number;
}

export function createRevocationIndex(): RevocationIndex {
  /** Both with the revocation's id. */
  const byJti = new Map<string, number>();
  const byUser = new Map<number, { id: number; generation: number }>();
  return {
    add({ id, userId, jti, generation }) {
      if (jti) byJti.set(jti, id);
      else if (generation > (byUser.get(userId)?.generation ?? 0)) byUser.set(userId, { id, generation });
    },
    covers({ jti, userId, generation }) {
      return byJti.has(jti) || generation < (byUser.get(userId)?.generation ?? 0);
    },
    forgetBefore(id) {
      for (const [jti, each] of byJti) if (each < id) byJti.delete(jti);
      for (const [userId, each] of byUser) if (each.id < id) byUser.delete(userId);
    },
    size: () => byJti.size + byUser.size,
  };
}
