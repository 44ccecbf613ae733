import { ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { flagKind } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Cache } from "../cache.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { checkBatch } from "../paging.ts";
import type { createVideoView } from "./view.ts";

/** Gives the id of a token's user, or throws UNAUTHENTICATED. */
export type Identify = (token: string) => Promise<number>;

const maxViewers = 32;
/** Flags that are read from the cache at once. */
const flagsPerRead = 960;

/**
 * What viewers' feed pages have beside the page of everybody: three reads of the cache at once, however long the page, and more of two
 * of them only for many viewers. The counts are in it because what a viewer did must show at once, and the page of everybody may be a
 * moment old.
 */
export function createFeedViews(
  { cache, clients }: Context,
  { findCounts, identify }: Pick<ReturnType<typeof createVideoView>, "findCounts"> & { identify: Identify },
): ServiceImpl<typeof VideoService>["getFeedViews"] {
  return async ({ videoIds, authorIds, tokens }) => {
    if (tokens.length > maxViewers) throw flickError(Reason.INVALID_PARAMETER, `tokens: at most ${maxViewers}`);
    const videos = checkBatch("video_ids", videoIds);
    const authors = checkBatch("author_ids", authorIds);
    const callers = await Promise.all(tokens.map((token) => verify(token, identify)));
    const viewers = [...new Set(callers.flatMap(({ viewerId }) => viewerId ?? []))];
    const [counts, favorites, follows] = await Promise.all([
      findCounts(videos),
      findFlags(cache, { viewers, ids: videos, key: cacheKeys.isFavorite, load: loadFavorites }),
      findFlags(cache, {
        viewers,
        ids: authors,
        key: (id, viewer) => cacheKeys.isFollow(viewer, id),
        load: loadFollows,
      }),
    ]);
    const [askedVideos, askedAuthors] = [videoIds.map(toId), authorIds.map(toId)];
    return {
      favoriteCounts: askedVideos.map((id) => BigInt(counts.get(id)?.favoriteCount ?? 0)),
      commentCounts: askedVideos.map((id) => BigInt(counts.get(id)?.commentCount ?? 0)),
      views: callers.map(({ viewerId, refusal }) => {
        if (viewerId === undefined) return { refusal };
        const [liked, followed] = [favorites.get(viewerId), follows.get(viewerId)];
        return {
          isFavorite: askedVideos.map((id) => liked?.has(id) ?? false),
          isFollow: askedAuthors.map((id) => followed?.has(id) ?? false),
        };
      }),
    };
  };

  async function loadFavorites(ids: number[], viewerId: number): Promise<(id: number) => boolean> {
    const asked = { videoIds: ids.map(BigInt), viewerId: BigInt(viewerId) };
    const { favorites } = await clients.favorite.batchGetVideoFavorites(asked);
    return (id) => favorites[String(id)]?.isFavorite ?? false;
  }

  async function loadFollows(ids: number[], viewerId: number): Promise<(id: number) => boolean> {
    const asked = { userIds: ids.map(BigInt), viewerId: BigInt(viewerId) };
    const { relations } = await clients.relation.batchGetRelations(asked);
    return (id) => relations[String(id)]?.isFollow ?? false;
  }
}

async function verify(token: string, identify: Identify): Promise<{ viewerId?: number; refusal: string }> {
  try {
    return { viewerId: await identify(token), refusal: "" };
  } catch (error) {
    if (reasonOf(error) !== Reason.UNAUTHENTICATED) throw error;
    return { refusal: ConnectError.from(error).rawMessage };
  }
}

/** For each viewer those of the ids that their flag is set for. */
async function findFlags(
  cache: Cache,
  options: {
    viewers: readonly number[];
    ids: readonly number[];
    key: (id: number, viewer: number) => string;
    /** Asks the database about some of the ids. */
    load: (ids: number[], viewer: number) => Promise<(id: number) => boolean>;
  },
): Promise<Map<number, Set<number>>> {
  const { viewers, ids, key, load } = options;
  const set = new Map(viewers.map((viewer) => [viewer, new Set<number>()]));
  if (ids.length === 0) return set;
  // The cache's kinds have numbers for names: a pair's is its place in the table of viewers and ids.
  const viewerAt = (pair: number) => viewers[Math.floor(pair / ids.length)] ?? 0;
  const idAt = (pair: number) => ids[pair % ids.length] ?? 0;
  const flags = flagKind((pair) => key(idAt(pair), viewerAt(pair)));
  const loadPairs = async (pairs: number[]) => {
    const loaded = new Map<number, boolean>();
    const byViewer = Map.groupBy(pairs, viewerAt);
    await Promise.all(
      [...byViewer].map(async ([viewer, missing]) => {
        const isSet = await load(missing.map(idAt), viewer);
        for (const pair of missing) loaded.set(pair, isSet(idAt(pair)));
      }),
    );
    return loaded;
  };
  const pairs = Array.from({ length: viewers.length * ids.length }, (_, pair) => pair);
  const reads: Promise<Map<number, boolean>>[] = [];
  for (let from = 0; from < pairs.length; from += flagsPerRead)
    reads.push(cache.values(flags, pairs.slice(from, from + flagsPerRead), loadPairs));
  for (const found of await Promise.all(reads))
    for (const [pair, isSet] of found) if (isSet) set.get(viewerAt(pair))?.add(idAt(pair));
  return set;
}
