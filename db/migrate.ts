import { refuseArguments, runCommandLine } from "@flick/platform/command.ts";
import { readEnv, url } from "@flick/platform/env.ts";
import { drizzle } from "drizzle-orm/mysql2";
import { migrate as runMigrations } from "drizzle-orm/mysql2/migrator";
import { createConnection, type RowDataPacket } from "mysql2/promise";

const lockSeconds = 60;

/**
 * Creates the database of the URL if it is missing and brings its schema up to date. Programs that start together take turns.
 *
 * @throws when the server cannot be reached within 5 s, another migration holds the lock for a minute, or a statement fails.
 */
export async function migrate(mysqlUrl: string): Promise<void> {
  const server = new URL(mysqlUrl);
  const name = decodeURIComponent(server.pathname.slice(1));
  if (!/^\w{1,64}$/.test(name))
    throw new Error(`the database name in the URL must be 1 to 64 letters, digits or _: ${name}`);
  server.pathname = "/";
  const connection = await createConnection({ uri: server.href, connectTimeout: 5_000, charset: "utf8mb4_bin" });
  try {
    const [[lock]] = await connection.query<RowDataPacket[]>(
      `SELECT GET_LOCK('flick-migrate', ${lockSeconds}) AS held`,
    );
    if (lock?.["held"] !== 1) throw new Error(`another migration has been running for ${lockSeconds} s`);
    await connection.query(`CREATE DATABASE IF NOT EXISTS \`${name}\` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`);
    await connection.query(`USE \`${name}\``);
    await runMigrations(drizzle(connection), { migrationsFolder: `${import.meta.dir}/migrations` });
  } finally {
    await connection.end();
  }
}

if (import.meta.main) {
  await runCommandLine({
    help: "Creates the database of MYSQL_URL if it is missing, and brings its schema up to date.",
    async run(args) {
      refuseArguments(args);
      const { MYSQL_URL } = readEnv({ MYSQL_URL: url("mysql:") });
      await migrate(MYSQL_URL);
      process.stdout.write("the schema is up to date\n");
    },
  });
}
