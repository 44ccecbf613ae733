import { firstIdAt } from "@flick/db/id.ts";

import type { Context } from "./context.ts";
import { rawKeyId, rawKeyPrefix, ticketMs, type RawFolder } from "./raw-key.ts";

const hour = 3_600_000;
/** After that no call gives an upload its row any more, however long it took. */
const minAgeMs = ticketMs + hour;
const maxAgeMs = 7 * 24 * hour;

export interface SweptUploads {
  folder: RawFolder;
  /** Of the uploads with these ids, the keys of those that are still wanted. */
  wanted: (ids: number[]) => Promise<string[]>;
}

type SweepContext = Pick<Context, "objects" | "log" | "now">;

/** Runs {@link sweepRawObjects} every hour; returns what stops it. */
export function startRawSweep(context: SweepContext, uploads: SweptUploads): () => void {
  const timer = setInterval(() => {
    sweepRawObjects(context, uploads).catch((error: unknown) => {
      context.log.warn("sweep of uploads failed", { folder: uploads.folder, error });
    });
  }, hour);
  return () => clearInterval(timer);
}

/**
 * Deletes the uploads of the last seven days that nobody wants: whoever stored them died, or lost its way to
 * the origin, between the end of the file and the insertion of the row, or was to delete them at the end of their job. Returns how many.
 */
export async function sweepRawObjects(
  { objects, log, now }: SweepContext,
  { folder, wanted }: SweptUploads,
): Promise<number> {
  let deleted = 0;
  let after = rawKeyPrefix(folder, firstIdAt(now() - maxAgeMs));
  for (;;) {
    const page = await objects.list(`${folder}/`, after);
    const last = page.at(-1);
    if (!last) return deleted;
    const old = page.filter(({ key }) => (rawKeyId(key) ?? Infinity) < firstIdAt(now() - minAgeMs));
    const ids = old.map(({ key }) => rawKeyId(key) ?? 0);
    const kept = new Set(ids.length > 0 ? await wanted(ids) : []);
    for (const { key } of old) {
      if (kept.has(key)) continue;
      await objects.delete(key);
      deleted++;
    }
    if (deleted > 0) log.info("deleted uploads that nobody wants", { folder, deleted });
    after = last.key;
  }
}
