import { setTimeout as sleep } from "node:timers/promises";

import type { Database } from "@flick/db/client.ts";
import { withoutValues } from "@flick/db/errors.ts";
import { firstIdAt } from "@flick/db/id.ts";
import { tokenRevocations } from "@flick/db/schema/token-revocation.ts";
import type { AccessToken } from "@flick/platform/access-token/access-token.ts";
import { createRevocationIndex, type Revocation } from "@flick/platform/access-token/revocations.ts";
import { rememberMs } from "@flick/platform/access-token/verify.ts";
import type { Log } from "@flick/platform/log.ts";
import { and, eq, gt, or, sql } from "drizzle-orm";

/** What this process knows of tokens that were revoked. */
export interface Revocations {
  /**
   * Asks the database about a token that is new here; one that was asked about a while ago is looked up among those revoked since.
   *
   * @param checkedAt when it was asked about, milliseconds since 1970; null for a new one.
   */
  isRevoked(token: AccessToken, checkedAt: number | null): Promise<boolean>;
  /** Has a token that was good a few minutes ago expired since, or been revoked? */
  hasEnded(token: AccessToken): boolean;
  /** Takes up a revocation that this process has just committed. */
  add(revocation: Revocation): void;
  close(): Promise<void>;
}

const pollMs = 1_000;
/** Rows come into view later than their ids are made, and in another order; clocks of origins may differ. */
const windowMs = 60_000;
/** Longer than a verified token is remembered without asking the database again. */
const keptMs = 2 * rememberMs;
/** Without a look at the database for as long, every token is new. */
const blindMs = 10_000;
const pageLength = 5_000;
/** Of the last minutes. When there are more, the oldest are forgotten, and for a while every token is asked about. */
const maxKept = 100_000;

/**
 * Reads every second which tokens were revoked, so that a logout at any origin holds at this one within two seconds. Rows are read again
 * for a minute, since they are not committed in the order of their ids.
 */
export function readRevocations(options: { db: Database; log: Log; now?: () => number }): Revocations {
  const { db, log, now = Date.now } = options;
  const index = createRevocationIndex();
  const closing = new AbortController();
  let polledAt = now();
  let forgottenAt = now();
  let askAllUntil = 0;
  let failing = false;

  const newer = db
    .select()
    .from(tokenRevocations)
    .where(gt(tokenRevocations.id, sql.placeholder("after")))
    .orderBy(tokenRevocations.id)
    .limit(pageLength)
    .prepare();
  const ofToken = db
    .select({ id: tokenRevocations.id })
    .from(tokenRevocations)
    .where(
      and(
        eq(tokenRevocations.userId, sql.placeholder("userId")),
        or(
          eq(tokenRevocations.jti, sql.placeholder("jti")),
          gt(tokenRevocations.generation, sql.placeholder("generation")),
        ),
      ),
    )
    .limit(1)
    .prepare();

  const polling = pollUntilClosed();

  return {
    async isRevoked(token, checkedAt) {
      if (index.covers(token)) return true;
      const sees = polledAt > now() - blindMs && askAllUntil < now();
      if (checkedAt !== null && sees) return false;
      const { userId, jti, generation } = token;
      return (await ofToken.execute({ userId, jti, generation })).length > 0;
    },
    hasEnded: (token) => token.expiresAt <= now() || index.covers(token),
    add: (revocation) => index.add(revocation),
    async close() {
      closing.abort();
      await polling;
    },
  };

  async function pollUntilClosed(): Promise<void> {
    while (!closing.signal.aborted) {
      await sleep(pollMs, undefined, { signal: closing.signal }).catch(() => {});
      if (closing.signal.aborted) return;
      try {
        await poll();
        if (failing) log.info("revoked tokens are known again");
        failing = false;
      } catch (error) {
        if (!failing) log.warn("revoked tokens cannot be read, trying again", { error: withoutValues(error) });
        failing = true;
      }
    }
  }

  async function poll(): Promise<void> {
    const startedAt = now();
    // After an outage, everything since then.
    let after = firstIdAt(Math.min(polledAt, startedAt) - windowMs);
    for (;;) {
      const page = await newer.execute({ after });
      page.forEach(index.add);
      const [first] = page;
      if (index.size() > maxKept && first) {
        index.forgetBefore(first.id);
        askAllUntil = now() + rememberMs;
      }
      after = page.at(-1)?.id ?? after;
      if (page.length < pageLength || closing.signal.aborted) break;
    }
    polledAt = startedAt;
    if (startedAt - forgottenAt < windowMs) return;
    index.forgetBefore(firstIdAt(startedAt - keptMs));
    forgottenAt = startedAt;
  }
}
