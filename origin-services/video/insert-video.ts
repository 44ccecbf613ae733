import type { Transaction } from "@flick/db/client.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { sql } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";

export const maxTitleLength = 100;

export interface NewVideo {
  id: number;
  authorId: number;
  title: string;
  rawKey: string;
  /** Of the upload, if its client has announced it. */
  sha256?: string;
}

/** Publishes an upload: the row, which is the media worker's job, and one more work of its author. */
export async function insertVideo(tx: Transaction, video: NewVideo, createdAt: number): Promise<void> {
  await tx.insert(videos).values({ ...video, status: "uploaded", createdAt, jobDueAt: createdAt });
  await tx
    .insert(workCounts)
    .values({ userId: video.authorId, count: 1 })
    .onDuplicateKeyUpdate({ set: { count: sql`${workCounts.count} + 1` } });
}

/** What a new video makes stale. */
export const keysOfNewVideo = ({ id, authorId }: Pick<NewVideo, "id" | "authorId">) => [
  cacheKeys.video(id),
  cacheKeys.published(authorId),
  cacheKeys.userCounts(authorId),
];
