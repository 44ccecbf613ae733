import type { Database } from "@flick/db/client.ts";
import { withoutValues } from "@flick/db/errors.ts";
import { tokenRevocations } from "@flick/db/schema/token-revocation.ts";
import { users } from "@flick/db/schema/user.ts";
import { transact } from "@flick/db/transaction.ts";
import type { AccessToken } from "@flick/platform/access-token/access-token.ts";
import type { Revocation } from "@flick/platform/access-token/revocations.ts";
import type { Log } from "@flick/platform/log.ts";
import { eq, lt, sql } from "drizzle-orm";

import type { Context } from "../context.ts";

type LogoutContext = Pick<Context, "db" | "newId" | "now">;

/** Revokes one token, until it would have expired. */
export async function revokeToken({ db, newId }: LogoutContext, token: AccessToken): Promise<Revocation> {
  const { userId, jti, expiresAt } = token;
  const revocation = { id: newId(), userId, jti, generation: 0, expiresAt };
  await db.insert(tokenRevocations).values(revocation);
  return revocation;
}

/**
 * Revokes every token that a user was issued so far, by beginning a new generation: a time could not tell a token of the same moment, or
 * of another clock, from one that was issued afterwards.
 */
export function revokeAllTokens(
  { db, newId, now }: LogoutContext,
  userId: number,
  tokenLifetimeMs: number,
): Promise<Revocation> {
  return transact(db, async (tx) => {
    await tx
      .update(users)
      .set({ tokenGeneration: sql`${users.tokenGeneration} + 1` })
      .where(eq(users.id, userId));
    const [user] = await tx.select({ generation: users.tokenGeneration }).from(users).where(eq(users.id, userId));
    if (!user) throw new Error("a token's user is not in the database");
    const expiresAt = now() + tokenLifetimeMs;
    const revocation = { id: newId(), userId, jti: "", generation: user.generation, expiresAt };
    await tx.insert(tokenRevocations).values(revocation);
    return revocation;
  });
}

const hour = 3_600_000;
const sweptAtOnce = 1_000;

/** Deletes, every hour, revocations whose tokens expired an hour ago; returns what stops it. */
export function startRevocationSweep(context: { db: Database; log: Log; now: () => number }): () => void {
  const timer = setInterval(() => {
    sweepRevocations(context).catch((error: unknown) => {
      context.log.warn("sweep of revoked tokens failed", { error: withoutValues(error) });
    });
  }, hour);
  return () => clearInterval(timer);
}

/** See {@link startRevocationSweep}. Returns how many it deleted. */
export async function sweepRevocations({ db, now }: { db: Database; now: () => number }): Promise<number> {
  const before = now() - hour;
  for (let swept = 0; ;) {
    const [{ affectedRows }] = await db
      .delete(tokenRevocations)
      .where(lt(tokenRevocations.expiresAt, before))
      .limit(sweptAtOnce);
    swept += affectedRows;
    if (affectedRows < sweptAtOnce) return swept;
  }
}
