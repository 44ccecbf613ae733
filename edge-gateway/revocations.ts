import type { AccessToken } from "@flick/platform/access-token/access-token.ts";
import {
  createRevocationIndex,
  decodeRevocation,
  maxRevocations,
  revocationsKey,
  type RevocationIndex,
} from "@flick/platform/access-token/revocations.ts";
import { createRefreshed, type KeepAlive } from "@flick/platform/refreshed.ts";

import type { Redis } from "./redis.ts";

/** Read behind a request's back from this age on, and before its answer from that: a logout holds here within 5 s. */
const freshMs = 2_000;
const staleMs = 4_000;
/** Longer than Redis is waited for. */
const timeoutMs = 1_000;
/** What came in shortly before the newest that we have is read again. */
const overlapMs = 1_000;
/** Beyond it, everything is read anew. */
const maxKept = 2 * maxRevocations;

interface Known {
  index: RevocationIndex;
  /** When the newest came in, by the clock of Redis. */
  newest: number;
}

/**
 * Tells which tokens were revoked, as Redis has it for all locations of the edge. Without Redis none is here; the origin knows them all.
 *
 * @param onFailure called when Redis cannot be read, every two seconds at most; what is known goes on.
 */
export function createEdgeRevocations(
  redis: Redis | null,
  onFailure: (error: unknown) => void,
): (token: AccessToken, keepAlive?: KeepAlive) => Promise<boolean> {
  if (!redis) return () => Promise.resolve(false);
  const known = createRefreshed<Known>({
    load: (_signal, previous) => readNewer(redis, previous),
    initial: { index: createRevocationIndex(), newest: 0 },
    freshMs,
    staleMs,
    retryMs: freshMs,
    timeoutMs,
    onFailure,
  });
  return async (token, keepAlive) => (await known.get(keepAlive))?.index.covers(token) ?? false;
}

async function readNewer(redis: Redis, previous: Known | null): Promise<Known> {
  const known = previous && previous.index.size() <= maxKept ? previous : { index: createRevocationIndex(), newest: 0 };
  const rows = await redis.zrange<string[]>(revocationsKey, known.newest - overlapMs, "+inf", {
    byScore: true,
    withScores: true,
    offset: 0,
    count: maxRevocations,
  });
  let { newest } = known;
  for (let at = 0; at + 1 < rows.length; at += 2) {
    const revocation = decodeRevocation(rows[at] ?? "");
    if (revocation) known.index.add(revocation);
    newest = Math.max(newest, Number(rows[at + 1]) || 0);
  }
  return { index: known.index, newest };
}
