import { connectDatabase, type Database } from "@flick/db/client.ts";
import { withoutValues } from "@flick/db/errors.ts";
import { tokenRevocations } from "@flick/db/schema/token-revocation.ts";
import { describe, refuseArguments, runCommandLine } from "@flick/platform/command.ts";
import { readEnv, url, whole } from "@flick/platform/env.ts";
import { createLog, type Log } from "@flick/platform/log.ts";
import { createRedisConnection, type RedisConnection } from "@flick/platform/redis-connection.ts";
import { and, gt } from "drizzle-orm";
import * as v from "valibot";

import { isCacheKey, leaseOf } from "./cache-keys.ts";
import { createEdgeRevocations } from "./edge-revocations.ts";
import { createFeedPurge } from "./feed-purge.ts";

const help = `Makes good what changes should have done that the change log has lost; docs/deploy.md says when that is.

  bun run resync

Deletes everything from the cache at REDIS_URL, makes the edge's pages of the feed worthless, and tells the edge of all revoked tokens at
MYSQL_URL again. Media jobs need nothing: they are found by their rows. May run while the services work, and again.`;

export interface Resynced {
  /** Entries deleted from the cache. */
  deleted: number;
  /** Revocations that the edge was told of. */
  revocations: number;
}

const timeoutMs = 2_000;
const keysAtOnce = 1_000;
const rowsAtOnce = 1_000;

/**
 * An entry that is filled meanwhile was read after the lost changes, which were committed before the log went on.
 *
 * @throws when one of the servers does not answer; what is done until then stays done.
 */
export async function resync(options: {
  db: Database;
  redisUrl: string;
  /** Of access tokens, as the origins have it. */
  tokenLifetimeMs: number;
  log: Log;
}): Promise<Resynced> {
  const { db, redisUrl, tokenLifetimeMs, log } = options;
  const connection = createRedisConnection({ url: redisUrl, log, timeoutMs });
  const feed = createFeedPurge({ url: redisUrl, log });
  const edge = createEdgeRevocations({ url: redisUrl, log, tokenLifetimeMs });
  try {
    const deleted = await emptyCache(connection);
    await feed.purge("head");
    await feed.purge("all");
    let revocations = 0;
    for await (const row of liveRevocations(db)) {
      if (!(await edge.publish(row))) throw new Error("a revoked token did not reach Redis");
      revocations++;
    }
    return { deleted, revocations };
  } finally {
    edge.close();
    feed.close();
    connection.close();
  }
}

async function emptyCache(connection: RedisConnection): Promise<number> {
  let deleted = 0;
  let cursor = "0";
  do {
    const reply = await connection.send("SCAN", [cursor, "COUNT", String(keysAtOnce)]);
    const [next, keys] = reply as [string, string[]];
    const cached = keys.filter(isCacheKey);
    if (cached.length > 0)
      await connection.send(
        "DEL",
        cached.flatMap((key) => [key, leaseOf(key)]),
      );
    deleted += cached.length;
    cursor = next;
  } while (cursor !== "0");
  return deleted;
}

async function* liveRevocations(db: Database) {
  let after = 0;
  for (;;) {
    const live = and(gt(tokenRevocations.id, after), gt(tokenRevocations.expiresAt, Date.now()));
    const rows = await db.select().from(tokenRevocations).where(live).orderBy(tokenRevocations.id).limit(rowsAtOnce);
    yield* rows;
    if (rows.length < rowsAtOnce) return;
    after = rows.at(-1)?.id ?? after;
  }
}

async function main(): Promise<void> {
  const env = readEnv({
    MYSQL_URL: url("mysql:"),
    REDIS_URL: url("redis:", "rediss:"),
    TOKEN_TTL_S: v.optional(whole(60, 31_536_000), "604800"),
  });
  const { db, close } = connectDatabase({ url: env.MYSQL_URL, connections: 1 });
  const log = createLog({ program: "resync", level: "warn" });
  try {
    const tokenLifetimeMs = env.TOKEN_TTL_S * 1000;
    const { deleted, revocations } = await resync({ db, redisUrl: env.REDIS_URL, tokenLifetimeMs, log });
    process.stdout.write(`${deleted} entries deleted from the cache; the edge's pages of the feed are worthless; `);
    process.stdout.write(`${revocations} revoked tokens told to the edge\n`);
  } finally {
    await close();
  }
}

if (import.meta.main) {
  await runCommandLine({
    help,
    async run(args) {
      refuseArguments(args);
      await main();
    },
    explain: (error) => describe(withoutValues(error)),
  });
}
