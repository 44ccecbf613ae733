import { profileImages } from "@flick/db/schema/user.ts";
import { and, eq, lte } from "drizzle-orm";

import type { Context } from "../context.ts";
import { tryEach } from "../try-each.ts";

const removedAtOnce = 100;

/**
 * Removes pictures that newer ones have replaced: the objects, then the row, which is the job. Doing it twice does no harm.
 * Returns how many.
 */
export async function removeReplacedImages({
  db,
  objects,
  log,
  now,
}: Pick<Context, "db" | "objects" | "log" | "now">): Promise<number> {
  const due = and(eq(profileImages.status, "replaced"), lte(profileImages.jobDueAt, now()));
  const rows = await db.select().from(profileImages).where(due).orderBy(profileImages.jobDueAt).limit(removedAtOnce);
  const removed = await tryEach(rows, async ({ id, rawKey, imageKey }) => {
    await Promise.all([rawKey, imageKey].filter((key) => key !== "").map((key) => objects.delete(key)));
    await db.delete(profileImages).where(and(due, eq(profileImages.id, id)));
  });
  if (removed > 0) log.info("removed replaced pictures", { pictures: removed });
  return removed;
}
