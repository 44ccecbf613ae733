import type { EventLog } from "@flick/platform/event-log/event-log.ts";

/** The tables whose changes delete something from the cache. */
const tables = ["users", "videos", "work_counts", "favorites", "video_favorite_counts", "user_favorite_counts"].concat([
  "comments",
  "video_comment_counts",
  "follows",
  "follow_counts",
]);

/**
 * Waits until the change log holds everything that has been written, and the cache's consumers have worked through it.
 *
 * @param signUp makes a new account, whose row is the last one to be written.
 * @param withinMs default 30 s.
 */
export async function drained(
  eventLog: EventLog,
  signUp: () => Promise<{ user_id: number }>,
  withinMs = 30_000,
): Promise<void> {
  const marker = await signUp();
  const deadline = Date.now() + withinMs;
  for (;;) {
    const last = await eventLog.last("cdc.users");
    const lags = await Promise.all(tables.map((table) => eventLog.lag(`cdc.${table}`, "cache")));
    if (last?.key === String(marker.user_id) && lags.every((lag) => lag === 0)) return;
    if (Date.now() > deadline) {
      const waiting = tables.flatMap((table, index) => (lags[index] ? [`${table}: ${lags[index]}`] : []));
      throw new Error(`the change log was not drained within ${withinMs} ms; ${waiting.join(", ") || "no lag"}`);
    }
    await Bun.sleep(50);
  }
}
