import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { RedisClient } from "bun";
import { createConnection } from "mysql2/promise";

/** The tables whose changes delete something from the cache. */
const tables = ["users", "videos", "work_counts", "favorites", "video_favorite_counts", "user_favorite_counts"].concat([
  "comments",
  "video_comment_counts",
  "follows",
  "follow_counts",
]);
/** Of nobody. */
const firstMarker = 1;

/**
 * Waits until the change log holds everything that has been written, and the cache's consumers have worked through it, whoever feeds it
 * and whichever log it is. Nobody should write meanwhile.
 *
 * @param withinMs default 30 s.
 */
export async function drained(
  eventLog: EventLog,
  urls: { mysql: string; redis: string },
  withinMs = 30_000,
): Promise<void> {
  const redis = new RedisClient(urls.redis);
  const mysql = await createConnection({ uri: urls.mysql });
  const deadline = Date.now() + withinMs;
  const until = async (what: string, holds: () => Promise<boolean>) => {
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`the change log was not drained within ${withinMs} ms: ${what}`);
      await Bun.sleep(50);
    }
  };
  try {
    // Twice, because changes of other tables may still be on their way when the first one arrives, but not when the second one does.
    for (const marker of [firstMarker, firstMarker + 1]) {
      const key = `count::${marker}`;
      await redis.set(key, "marker");
      await mysql.query("INSERT INTO work_counts (user_id, count) VALUES (?, 0)", [marker]);
      await mysql.query("DELETE FROM work_counts WHERE user_id = ?", [marker]);
      await until("a change does not arrive", async () => (await redis.get(key)) === null);
    }
    for (const table of tables)
      await until(`cdc.${table} has a lag`, async () => (await eventLog.lag(`cdc.${table}`, "cache")) === 0);
  } finally {
    redis.close();
    await mysql.end();
  }
}
