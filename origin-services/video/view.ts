import type { MessageInitShape } from "@bufbuild/protobuf";
import { VideoStatus, type VideoSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import type { User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import { flagKind, hashKind } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { defaultImages } from "../default-images.ts";
import type { VideoInfo } from "./cached-videos.ts";
import { decodeCovers, decodeRenditions } from "./outputs.ts";

type VideoFields = MessageInitShape<typeof VideoSchema>;

interface VideoCounts {
  favoriteCount: number;
  commentCount: number;
}

/** What other services know of a video. */
interface FromOthers extends VideoCounts {
  author: User;
  isFavorite: boolean;
}

const videoCounts = hashKind<VideoCounts>({
  key: cacheKeys.videoCounts,
  ttlMs: 5 * 60_000,
  fields: { favoriteCount: Number, commentCount: Number },
});

/** How long the author's link to an upload that is not ready yet works. */
const rawLinkSeconds = 3600;

const statuses: Record<Exclude<VideoInfo["status"], "deleted">, VideoStatus> = {
  uploaded: VideoStatus.UPLOADED,
  processing: VideoStatus.PROCESSING,
  ready: VideoStatus.READY,
  failed: VideoStatus.FAILED,
};

/** Rows as one viewer sees them. */
export function createVideoView({ clients, objects, cache }: Context): {
  toVideos(rows: VideoInfo[], viewerId: number): Promise<VideoFields[]>;
  /** One read of the cache. */
  findCounts(ids: number[]): Promise<Map<number, VideoCounts>>;
} {
  return {
    findCounts,
    /** One call and two reads of the cache at once, however many rows; a row whose author is gone is left out. */
    async toVideos(rows, viewerId) {
      if (rows.length === 0) return [];
      const userIds = [...new Set(rows.map((row) => row.authorId))].map(BigInt);
      const videoIds = rows.map((row) => row.id);
      const [{ users }, counts, favorites] = await Promise.all([
        clients.user.batchGetUsers({ userIds, viewerId: BigInt(viewerId) }),
        findCounts(videoIds),
        findFavorites(videoIds, viewerId),
      ]);
      const authors = new Map(users.map((user) => [Number(user.id), user]));
      return Promise.all(
        rows.flatMap((row) => {
          const author = authors.get(row.authorId);
          const { favoriteCount = 0, commentCount = 0 } = counts.get(row.id) ?? {};
          const social = { favoriteCount, commentCount, isFavorite: favorites.get(row.id) ?? false };
          return author ? [toVideo(row, viewerId, { author, ...social })] : [];
        }),
      );
    },
  };

  function findCounts(ids: number[]): Promise<Map<number, VideoCounts>> {
    return cache.values(videoCounts, ids, loadCounts);
  }

  async function loadCounts(ids: number[]): Promise<Map<number, VideoCounts>> {
    const videoIds = ids.map(BigInt);
    const [{ favorites }, { counts }] = await Promise.all([
      clients.favorite.batchGetVideoFavorites({ videoIds }),
      clients.comment.batchGetCommentCounts({ videoIds }),
    ]);
    return new Map(
      ids.map((id) => {
        const favoriteCount = Number(favorites[String(id)]?.count ?? 0n);
        return [id, { favoriteCount, commentCount: Number(counts[String(id)] ?? 0n) }];
      }),
    );
  }

  /** Which of the videos the viewer likes. */
  async function findFavorites(ids: number[], viewerId: number): Promise<ReadonlyMap<number, boolean>> {
    if (viewerId === 0) return new Map();
    const isFavorite = flagKind((videoId) => cacheKeys.isFavorite(videoId, viewerId));
    return cache.values(isFavorite, ids, async (missing) => {
      const asked = { videoIds: missing.map(BigInt), viewerId: BigInt(viewerId) };
      const { favorites } = await clients.favorite.batchGetVideoFavorites(asked);
      return new Map(missing.map((id) => [id, favorites[String(id)]?.isFavorite ?? false]));
    });
  }

  function urlOf(key: string): string {
    return key ? objects.publicUrl(key) : "";
  }

  async function toVideo(row: VideoInfo, viewerId: number, fromOthers: FromOthers): Promise<VideoFields> {
    const { author, isFavorite, favoriteCount, commentCount } = fromOthers;
    return {
      id: BigInt(row.id),
      author,
      isFavorite,
      favoriteCount: BigInt(favoriteCount),
      commentCount: BigInt(commentCount),
      // Until there is a rendition, its author watches the upload itself; nobody else is shown this row.
      playUrl: row.playKey ? objects.publicUrl(row.playKey) : await objects.signedUrl(row.rawKey, rawLinkSeconds),
      coverUrl: objects.publicUrl(row.coverKey || defaultImages.cover),
      title: row.title,
      createTime: BigInt(row.createdAt),
      status: row.status === "deleted" ? VideoStatus.UNSPECIFIED : statuses[row.status],
      statusReason: row.authorId === viewerId ? row.statusReason : "",
      width: row.width,
      height: row.height,
      durationMs: BigInt(row.durationMs),
      renditions: decodeRenditions(row.renditions, objects.publicUrl),
      hlsUrl: urlOf(row.hlsKey),
      covers: decodeCovers(row.covers, objects.publicUrl),
      previewUrl: urlOf(row.previewKey),
      thumbhash: row.thumbhash,
    };
  }
}
