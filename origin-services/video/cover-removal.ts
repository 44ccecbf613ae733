import { videoCovers, videos } from "@flick/db/schema/video.ts";
import { and, eq, lte } from "drizzle-orm";

import type { Context } from "../context.ts";
import { tidyAfterMs } from "./covers.ts";
import { decodeCovers } from "./outputs.ts";

const tidiedAtOnce = 20;
const objectsAtOnce = 16;
const retryMs = 5_000;

const columns = {
  id: videoCovers.id,
  tidyAt: videoCovers.tidyAt,
  status: videoCovers.status,
  fence: videoCovers.jobFence,
  coverKey: videos.coverKey,
  previewKey: videos.previewKey,
  covers: videos.covers,
};

interface Row {
  id: number;
  tidyAt: number | null;
  status: string;
  fence: number;
  coverKey: string;
  previewKey: string;
  covers: string;
}

/**
 * Removes the pictures of videos that are shown no longer: those that another cover has taken the place of, and what attempts left that
 * came to nothing. Doing it twice, or by two at once, does no harm.
 *
 * @returns how many pictures.
 */
export async function removeOldCovers({
  db,
  objects,
  log,
  now,
}: Pick<Context, "db" | "objects" | "log" | "now">): Promise<number> {
  // One statement: what a video shows must not be older than the number of the newest claim.
  const rows = await db
    .select(columns)
    .from(videoCovers)
    .innerJoin(videos, eq(videos.id, videoCovers.id))
    .where(lte(videoCovers.tidyAt, now()))
    .orderBy(videoCovers.tidyAt)
    .limit(tidiedAtOnce);
  let gone = 0;
  for (const row of rows) {
    try {
      gone += await tidy(row);
      // Whoever works on a cover now may leave something, too.
      await putOff(row, row.status === "processing" ? now() + tidyAfterMs : null);
    } catch (error) {
      log.warn("old covers could not be removed", { error });
      await putOff(row, now() + retryMs);
    }
  }
  if (gone > 0) log.info("removed old covers", { pictures: gone });
  return gone;

  async function tidy(row: Row): Promise<number> {
    const old = (await objects.list(`videos/${row.id}/`)).map(({ key }) => key).filter((key) => isOld(key, row));
    for (let at = 0; at < old.length; at += objectsAtOnce) {
      await Promise.all(old.slice(at, at + objectsAtOnce).map((key) => objects.delete(key)));
    }
    return old.length;
  }

  /** Unless a worker, or a new cover, has put it off in the meantime. */
  async function putOff({ id, tidyAt }: Row, until: number | null): Promise<void> {
    const unchanged = and(eq(videoCovers.id, id), eq(videoCovers.tidyAt, tidyAt ?? 0));
    await db.update(videoCovers).set({ tidyAt: until }).where(unchanged);
  }
}

/** Is an object a picture that the video shows no longer, and that no attempt will show: neither the one at work nor a later one? */
function isOld(key: string, { status, fence, coverKey, previewKey, covers }: Row): boolean {
  const shown = [coverKey, previewKey, ...decodeCovers(covers, (each) => each).map(({ url }) => url)];
  if (!/\.(?:webp|jpg)$/.test(key) || shown.includes(key)) return false;
  const attempt = /^videos\/\d+\/covers\/(\d+)\//.exec(key)?.[1];
  return attempt === undefined || Number(attempt) < fence || (Number(attempt) === fence && status !== "processing");
}
