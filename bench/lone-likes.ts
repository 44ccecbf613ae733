import { createIdGenerator } from "@flick/db/id.ts";
import { createPool } from "mysql2/promise";

/** What likes cost when each has a transaction of its own: the baseline that shared commits are compared with. */
export function createLoneLikes(
  mysqlUrl: string,
  options: { connections: number; authorOf: (videoId: number) => number },
): { like(pair: { userId: number; videoId: number }): Promise<void>; close(): Promise<void> } {
  const pool = createPool({ uri: mysqlUrl, connectionLimit: Math.min(options.connections, 200) });
  pool.pool.on("connection", (connection) => {
    connection.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", () => {});
  });
  const newId = createIdGenerator(1);
  return {
    async like({ userId, videoId }) {
      const authorId = options.authorOf(videoId);
      const connection = await pool.getConnection();
      try {
        await connection.query("BEGIN");
        await connection.query("INSERT INTO favorites (user_id, video_id, author_id, id) VALUES (?, ?, ?, ?)", [
          userId,
          videoId,
          authorId,
          newId(),
        ]);
        // In one order everywhere, so that no two of them wait for each other.
        await connection.query(add("video_favorite_counts", "video_id", "count"), [videoId, 1]);
        await connection.query(add("user_favorite_counts", "user_id", "total_favorited"), [authorId, 1]);
        await connection.query(add("user_favorite_counts", "user_id", "favorite_count"), [userId, 1]);
        await connection.query("COMMIT");
      } catch (error) {
        await connection.query("ROLLBACK");
        throw error;
      } finally {
        connection.release();
      }
    },
    close: () => pool.end(),
  };
}

const otherCounter: Record<string, string> = {
  count: "",
  total_favorited: ", favorite_count",
  favorite_count: ", total_favorited",
};

function add(table: string, key: string, counter: string): string {
  const other = otherCounter[counter] ?? "";
  return `INSERT INTO ${table} (${key}, ${counter}${other}) VALUES (?, ?${other && ", 0"})
    ON DUPLICATE KEY UPDATE ${counter} = ${counter} + VALUES(${counter})`;
}
