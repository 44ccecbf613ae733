import { videos } from "@flick/db/schema/video.ts";
import { and, desc, eq, gte, inArray, lt, ne } from "drizzle-orm";

import { hashKind, listKind } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";

/** What is shown of a row, and whose it is; counts are kept apart. */
export type VideoInfo = Pick<
  typeof videos.$inferSelect,
  | "id"
  | "authorId"
  | "title"
  | "status"
  | "statusReason"
  | "rawKey"
  | "playKey"
  | "coverKey"
  | "hlsKey"
  | "previewKey"
  | "width"
  | "height"
  | "durationMs"
  | "renditions"
  | "covers"
  | "thumbhash"
  | "createdAt"
>;

/** A video's place in the feed. */
export interface FeedEntry {
  id: number;
  /** Milliseconds since 1970, of its own. */
  feedTime: number;
}

interface PublishedEntry {
  id: number;
  ready: boolean;
}

/** The feed, by day (UTC). */
export const feedDays = listKind<FeedEntry>({
  most: 2000,
  encode: ({ id, feedTime }) => ({ score: feedTime, member: String(id) }),
  decode: (member, feedTime) => ({ id: Number(member), feedTime }),
});

const published = listKind<PublishedEntry>({
  encode: ({ id, ready }) => ({ score: id, member: ready ? `${id}:ready` : String(id) }),
  decode: (member, id) => ({ id, ready: member.endsWith(":ready") }),
});

const videoInfo = hashKind<VideoInfo>({
  key: cacheKeys.video,
  fields: {
    id: Number,
    authorId: Number,
    title: String,
    status: (text) => text as VideoInfo["status"],
    statusReason: String,
    rawKey: String,
    playKey: String,
    coverKey: String,
    hlsKey: String,
    previewKey: String,
    width: Number,
    height: Number,
    durationMs: Number,
    renditions: String,
    covers: String,
    thumbhash: String,
    createdAt: Number,
  },
});

const dayMs = 86_400_000;

/** The rows of `videos` and their order in the lists, through the cache. */
export function createCachedVideos({ db, cache }: Pick<Context, "db" | "cache">) {
  return {
    /** In the order of the ids; unknown ones are left out. */
    async find(ids: readonly number[]): Promise<VideoInfo[]> {
      if (ids.length === 0) return [];
      const found = await cache.values(videoInfo, ids, async (missing) => {
        const rows = await db.select().from(videos).where(inArray(videos.id, missing));
        return new Map(rows.map((row) => [row.id, row]));
      });
      return ids.flatMap((id) => found.get(id) ?? []);
    },

    /** The newest of the feed before a time. Most pages lie within a day and the day before it, which one round trip reads. */
    async feedBefore(before: number, limit: number): Promise<FeedEntry[]> {
      const days = [before - 1, before - 1 - dayMs];
      const [newer, older] = await cache.lists(
        feedDays,
        days.map(cacheKeys.feedDay),
        { below: before, limit },
        (index) => {
          const begin = Math.floor((days[index] ?? 0) / dayMs) * dayMs;
          return feed(begin + dayMs, feedDays.most + 1, begin);
        },
      );
      const page = newer?.length === limit ? newer : newer && older ? [...newer, ...older].slice(0, limit) : [];
      return page.length === limit ? page : feed(before, limit);
    },

    /** An author's newest videos before an id. */
    async publishedBy(authorId: number, range: { all: boolean; cursor: number; limit: number }): Promise<number[]> {
      const { all, cursor, limit } = range;
      if (cursor === 0) {
        const [entries] = await cache.lists(
          published,
          [cacheKeys.published(authorId)],
          // Those that are not ready are in the list too.
          { limit: all ? limit : published.most },
          async () => (await authorsRows(authorId, published.most + 1)).map(toEntry),
        );
        const shown = entries?.filter(({ ready }) => all || ready).slice(0, limit);
        // A list that is full may go on in the database.
        if (shown && (shown.length === limit || (entries?.length ?? 0) < published.most))
          return shown.map(({ id }) => id);
      }
      return (await authorsRows(authorId, limit, { all, cursor })).map(({ id }) => id);
    },
  };

  function feed(before: number, limit: number, from = 0): Promise<FeedEntry[]> {
    return db
      .select({ id: videos.id, feedTime: videos.feedTime })
      .from(videos)
      .where(and(lt(videos.feedTime, before), gte(videos.feedTime, from)))
      .orderBy(desc(videos.feedTime))
      .limit(limit) as Promise<FeedEntry[]>;
  }

  function authorsRows(authorId: number, limit: number, { all, cursor } = { all: true, cursor: 0 }) {
    return db
      .select({ id: videos.id, status: videos.status })
      .from(videos)
      .where(
        and(
          eq(videos.authorId, authorId),
          all ? ne(videos.status, "deleted") : eq(videos.status, "ready"),
          cursor > 0 ? lt(videos.id, cursor) : undefined,
        ),
      )
      .orderBy(desc(videos.id))
      .limit(limit);
  }
}

const toEntry = ({ id, status }: Pick<VideoInfo, "id" | "status">): PublishedEntry => ({
  id,
  ready: status === "ready",
});
