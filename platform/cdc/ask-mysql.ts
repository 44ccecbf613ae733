import type { Pool, RowDataPacket } from "mysql2/promise";

const answerWithinMs = 5_000;

/**
 * The rows that a server answers with. A connection whose query fails is thrown away: mysql2 would keep one that does not answer, as when its
 * server has vanished behind a failover, out of the pool's reach until TCP gives it up, which takes a quarter of an hour.
 *
 * @param query.timeout milliseconds, 5 000 where it is left out.
 * @throws when no answer comes in time, too.
 */
export async function askMysql(
  mysql: Pool,
  query: { sql: string; values?: unknown[]; timeout?: number },
): Promise<RowDataPacket[]> {
  const connection = await mysql.getConnection();
  try {
    const [rows] = await connection.query<RowDataPacket[]>({ timeout: answerWithinMs, ...query });
    connection.release();
    return rows;
  } catch (error) {
    connection.destroy();
    throw error;
  }
}
