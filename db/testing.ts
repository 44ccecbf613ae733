import { randomBytes } from "node:crypto";

import { createConnection } from "mysql2/promise";

import { connectDatabase, type Database } from "./client.ts";
import { migrate } from "./migrate.ts";

/** A migrated database of its own for one test file; `drop` removes it. */
export async function createTestDatabase(
  mysqlUrl: string,
): Promise<{ url: string; db: Database; drop(): Promise<void> }> {
  const name = `test_${randomBytes(6).toString("hex")}`;
  const url = new URL(mysqlUrl);
  url.pathname = `/${name}`;
  await migrate(url.href);
  const { db, close } = connectDatabase({ url: url.href });
  return {
    url: url.href,
    db,
    async drop() {
      await close();
      const connection = await createConnection({ uri: url.href });
      await connection.query(`DROP DATABASE \`${name}\``);
      await connection.end();
    },
  };
}
