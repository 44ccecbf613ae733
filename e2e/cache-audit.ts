import { RedisClient } from "bun";
import { createConnection, type RowDataPacket } from "mysql2/promise";

/** What a cached key says, beside what the database says. */
export interface Lie {
  key: string;
  cached: unknown;
  stored: unknown;
}

type Ids = number[];

/** Each kind of key, with the one query that says what it must hold: a list of numbers. */
const truths: Record<
  string,
  { sql: string; ids: (key: string) => Ids; cached: (redis: RedisClient, key: string) => Promise<Ids> }
> = {
  count: {
    ids: idsOf,
    cached: fields("workCount", "followCount", "followerCount", "favoriteCount", "totalFavorited"),
    sql: `SELECT (SELECT COUNT(*) FROM videos WHERE author_id = u.id AND status NOT IN ('failed', 'deleted')) a,
      (SELECT COUNT(*) FROM follows WHERE follower_id = u.id) b, (SELECT COUNT(*) FROM follows WHERE followee_id = u.id) c,
      (SELECT COUNT(*) FROM favorites WHERE user_id = u.id) d, (SELECT COUNT(*) FROM favorites WHERE author_id = u.id) e
      FROM users u WHERE u.id = ?`,
  },
  videoCount: {
    ids: idsOf,
    cached: fields("favoriteCount", "commentCount"),
    sql: `SELECT (SELECT COUNT(*) FROM favorites WHERE video_id = v.id) a, (SELECT COUNT(*) FROM comments WHERE video_id = v.id) b
      FROM videos v WHERE v.id = ?`,
  },
  fav: { ids: idsOf, cached: flag, sql: "SELECT COUNT(*) n FROM favorites WHERE video_id = ? AND user_id = ?" },
  isFollow: {
    ids: idsOf,
    cached: flag,
    sql: "SELECT COUNT(*) n FROM follows WHERE follower_id = ? AND followee_id = ?",
  },
  userFavList: { ids: idsOf, cached: scores, sql: "SELECT id FROM favorites WHERE user_id = ? ORDER BY id DESC" },
  follow: { ids: idsOf, cached: scores, sql: "SELECT id FROM follows WHERE follower_id = ? ORDER BY id DESC" },
  follower: { ids: idsOf, cached: scores, sql: "SELECT id FROM follows WHERE followee_id = ? ORDER BY id DESC" },
  comment: { ids: idsOf, cached: scores, sql: "SELECT id FROM comments WHERE video_id = ? ORDER BY id DESC" },
};

/**
 * Compares everything that is cached of counts, flags and lists (of up to 200 entries) with rows counted by plain SQL.
 *
 * @returns how many keys it compared, and those that differ.
 */
export async function auditCache(urls: { mysql: string; redis: string }): Promise<{ compared: number; lies: Lie[] }> {
  const redis = new RedisClient(urls.redis);
  const mysql = await createConnection({ uri: urls.mysql });
  const lies: Lie[] = [];
  let compared = 0;
  try {
    for (const key of (await redis.send("KEYS", ["*"])) as string[]) {
      const truth = truths[key.split("::")[0] ?? ""];
      if (!truth) continue;
      const [rows] = await mysql.query<RowDataPacket[]>(truth.sql, truth.ids(key));
      const cached = await truth.cached(redis, key);
      const stored = rows.flatMap((row) => Object.values(row).map(Number));
      compared++;
      if (JSON.stringify(cached) !== JSON.stringify(stored)) lies.push({ key, cached, stored });
    }
    return { compared, lies };
  } finally {
    redis.close();
    await mysql.end();
  }
}

function idsOf(key: string): Ids {
  return key.split("::").slice(1).map(Number);
}

function fields(...names: string[]) {
  return async (redis: RedisClient, key: string): Promise<Ids> => (await redis.hmget(key, names)).map(Number);
}

async function flag(redis: RedisClient, key: string): Promise<Ids> {
  return [Number(await redis.get(key))];
}

/** Highest first, without the mark that ends a list. */
async function scores(redis: RedisClient, key: string): Promise<Ids> {
  const entries = (await redis.send("ZREVRANGE", [key, "0", "-1", "WITHSCORES"])) as [string, number][];
  return entries.map(([, score]) => score).filter((score) => score > 0);
}
