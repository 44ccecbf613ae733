/**
 * The one place where cache keys are built, for readers, writers and the change consumer alike; docs/storage.md lists them.
 * Times are milliseconds since 1970.
 */
export const cacheKeys = {
  user: (id: number) => `user::${id}`,
  userCounts: (userId: number) => `count::${userId}`,
  video: (id: number) => `videoInfo::${id}`,
  videoCounts: (videoId: number) => `videoCount::${videoId}`,
  /** The feed's videos of one day (UTC). */
  feedDay: (time: number) => `videoAll::${new Date(time).toISOString().slice(0, 10).replaceAll("-", "")}`,
  published: (authorId: number) => `publishVids::${authorId}`,
  isFavorite: (videoId: number, userId: number) => `fav::${videoId}::${userId}`,
  favorites: (userId: number) => `userFavList::${userId}`,
  isFollow: (followerId: number, followeeId: number) => `isFollow::${followerId}::${followeeId}`,
  following: (userId: number) => `follow::${userId}`,
  followers: (userId: number) => `follower::${userId}`,
  comments: (videoId: number) => `comment::${videoId}`,
  messages: (one: number, other: number) => `message::history::${Math.min(one, other)}:${Math.max(one, other)}`,
};

const prefixes = new Set(Object.values(cacheKeys).map((keyOf) => keyOf(0, 0).split("::")[0]));

/** Is it one of {@link cacheKeys}, which may be deleted at any time? */
export const isCacheKey = (key: string): boolean => prefixes.has(key.split("::")[0]);

/** Where the token of the one reader is that may fill a key. */
export const leaseOf = (key: string): string => `lease::${key}`;
