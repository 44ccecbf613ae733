import { firstIdAt } from "@flick/db/id.ts";
import { videos } from "@flick/db/schema/video.ts";
import { inArray } from "drizzle-orm";

import type { Context } from "../context.ts";
import { rawKeyId, rawKeyPrefix } from "./raw-key.ts";

const hour = 3_600_000;
/** An upload has its row moments after its object; the wait only has to outlast those moments. */
const minAgeMs = hour;
const maxAgeMs = 7 * 24 * hour;

/** Runs {@link sweepRawObjects} every hour; returns what stops it. */
export function startRawSweep(context: Context): () => void {
  const timer = setInterval(() => {
    sweepRawObjects(context).catch((error: unknown) => context.log.warn("sweep of uploads failed", { error }));
  }, hour);
  return () => clearInterval(timer);
}

type SweepContext = Pick<Context, "db" | "objects" | "log" | "now">;

/**
 * Deletes the uploads of the last seven days that no row refers to: their process died, or lost the database, between the end of
 * the upload and the insertion of the row. Returns how many.
 */
export async function sweepRawObjects({ db, objects, log, now }: SweepContext): Promise<number> {
  let deleted = 0;
  let after = rawKeyPrefix(firstIdAt(now() - maxAgeMs));
  for (;;) {
    const page = await objects.list("raw/", after);
    const last = page.at(-1);
    if (!last) return deleted;
    const old = page.filter((object) => object.modifiedAt < now() - minAgeMs && rawKeyId(object.key) !== null);
    const ids = old.map((object) => rawKeyId(object.key) ?? 0);
    const rows =
      ids.length > 0 ? await db.select({ rawKey: videos.rawKey }).from(videos).where(inArray(videos.id, ids)) : [];
    const known = new Set(rows.map((row) => row.rawKey));
    for (const { key } of old) {
      if (known.has(key)) continue;
      await objects.delete(key);
      deleted++;
    }
    if (deleted > 0) log.info("deleted uploads without a video", { deleted });
    after = last.key;
  }
}
