import { uploads, videos } from "@flick/db/schema/video.ts";
import type { OpenUpload } from "@flick/platform/object-store/object-store.ts";
import { and, eq, inArray, lte } from "drizzle-orm";

import type { Context } from "../context.ts";
import { rawKeyId } from "../raw-key.ts";
import type { SweptUploads } from "../raw-sweep.ts";
import { tryEach } from "../try-each.ts";

/** Between the beginning of an upload in object storage and its row lie moments. */
const minAgeMs = 3_600_000;
const sweptAtOnce = 100;

type SweepContext = Pick<Context, "db" | "objects" | "log" | "now">;
type UploadRow = typeof uploads.$inferSelect;

/** Gives up an upload that is no video: first for everybody who asks, then in object storage, then its row. */
export async function endUpload({ db, objects }: Pick<SweepContext, "db" | "objects">, row: UploadRow): Promise<void> {
  const { id, rawKey, storeUploadId } = row;
  const unfinished = and(eq(uploads.id, id), eq(uploads.videoId, 0));
  await db.update(uploads).set({ expiresAt: 0 }).where(unfinished);
  const [still] = await db.select({ videoId: uploads.videoId }).from(uploads).where(eq(uploads.id, id));
  // Somebody was completing it: then the object is the video's.
  if (!still || still.videoId > 0) return;
  await objects.abortParts(rawKey, storeUploadId);
  await objects.delete(rawKey);
  await db.delete(uploads).where(unfinished);
}

/** Ends the uploads that have expired, and forgets those that have become videos. Returns how many. */
export async function sweepUploads(context: SweepContext): Promise<number> {
  const { db, objects, log, now } = context;
  const due = lte(uploads.expiresAt, now());
  const rows = await db.select().from(uploads).where(due).orderBy(uploads.expiresAt).limit(sweptAtOnce);
  const swept = await tryEach(rows, async (row) => {
    if (row.videoId === 0) return endUpload(context, row);
    // Of an upload that turned out to be an earlier video's, whoever completed it may have died before it deleted the file.
    if (row.videoId !== row.id) await objects.delete(row.rawKey);
    await db.delete(uploads).where(and(eq(uploads.id, row.id), due));
  });
  if (swept > 0) log.info("swept uploads", { uploads: swept });
  return swept;
}

/** Aborts what object storage keeps of uploads that have no row: their beginning was interrupted. Returns how many. */
export async function sweepUnknownParts({ db, objects, log, now }: SweepContext): Promise<number> {
  let aborted = 0;
  let after: OpenUpload | undefined;
  for (;;) {
    const page = await objects.listUploads("raw/", after);
    after = page.at(-1);
    if (!after) break;
    const old = page.filter(({ key, begunAt }) => begunAt < now() - minAgeMs && rawKeyId(key) !== null);
    const ids = old.map(({ key }) => rawKeyId(key) ?? 0);
    const rows =
      ids.length > 0
        ? await db.select({ uploadId: uploads.storeUploadId }).from(uploads).where(inArray(uploads.id, ids))
        : [];
    const known = new Set(rows.map(({ uploadId }) => uploadId));
    for (const { key, uploadId } of old) {
      if (known.has(uploadId)) continue;
      await objects.abortParts(key, uploadId);
      aborted++;
    }
  }
  if (aborted > 0) log.info("aborted uploads that have no row", { aborted });
  return aborted;
}

/** An upload stays as long as its video has a row, or it is one in parts that is being completed. */
export function sweptVideoUploads({ db }: Pick<Context, "db">): SweptUploads {
  return {
    folder: "raw",
    async wanted(ids) {
      const tables = [videos, uploads] as const;
      const rows = await Promise.all(
        tables.map((table) => db.select({ rawKey: table.rawKey }).from(table).where(inArray(table.id, ids))),
      );
      return rows.flat().map((row) => row.rawKey);
    },
  };
}
