import { afterAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { isRunning } from "./processes.ts";
import { startMariadb, startRedis, testServers, testServersEnv } from "./testing.ts";

const scratch = await mkdtemp(join(tmpdir(), "flick-testing-"));
afterAll(() => rm(scratch, { recursive: true }));

async function query(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const sql = new Bun.SQL(url, { max: 1, connectionTimeout: 2 });
  try {
    return Array.from((await sql.unsafe(statement)) as Record<string, unknown>[]);
  } finally {
    await sql.close();
  }
}

async function redis(url: string, ...command: [string, ...string[]]): Promise<unknown> {
  const client = new Bun.RedisClient(url, { autoReconnect: false, connectionTimeout: 2000 });
  try {
    return await client.send(command[0], command.slice(1));
  } finally {
    client.close();
  }
}

test("a MariaDB of a test's own can be killed and stopped, and has its data when it is back", async () => {
  const server = await startMariadb({ dir: join(scratch, "mysql") });
  await query(server.url, "CREATE TABLE facts (id INT PRIMARY KEY)");
  await query(server.url, "INSERT INTO facts VALUES (1)");
  const pid = server.pid();
  await server.kill();
  expect(isRunning(pid)).toBe(false);
  await expect(query(server.url, "SELECT 1")).rejects.toThrow();
  await server.start();
  expect(await query(server.url, "SELECT * FROM facts")).toMatchObject([{ id: 1 }]);
  await server.stop();
  await server.start();
  expect(await query(server.url, "SELECT * FROM facts")).toMatchObject([{ id: 1 }]);
  await server.stop();
});

test("MariaDB writes full rows into its binary log, and creating its user is not in it", async () => {
  const server = await startMariadb({ dir: join(scratch, "binlog") });
  const variables = await query(
    server.url,
    "SHOW VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', 'server_id', 'character_set_server')",
  );
  expect(Object.fromEntries(variables.map((row) => [row.Variable_name, row.Value]))).toEqual({
    log_bin: "ON",
    binlog_format: "ROW",
    binlog_row_image: "FULL",
    server_id: "1",
    character_set_server: "utf8mb4",
  });
  const events = JSON.stringify(await query(server.url, "SHOW BINLOG EVENTS"));
  expect(events).not.toContain("flick");
  await server.stop();
});

test("a Redis of a test's own keeps its data over a stop, and asks for its password", async () => {
  const server = await startRedis({ dir: join(scratch, "redis") });
  await redis(server.url, "SET", "key", "value");
  await server.stop();
  await server.start();
  expect(await redis(server.url, "GET", "key")).toBe("value");
  const withoutPassword = new URL(server.url);
  withoutPassword.password = "";
  await expect(redis(withoutPassword.href, "GET", "key")).rejects.toThrow("NOAUTH");
  await server.stop();
});

test("the shared servers are the same for every caller; their user may create databases and read the binary log", async () => {
  const [one, two] = await Promise.all([testServers(), testServers()]);
  expect(one).toBe(two);
  await query(one.mysqlUrl, "CREATE DATABASE of_a_test");
  await query(one.mysqlUrl, "DROP DATABASE of_a_test");
  expect(await query(one.mysqlUrl, "SHOW BINARY LOGS")).not.toBeEmpty();
  expect(await redis(one.redisUrl, "PING")).toBe("PONG");
  expect((await fetch(one.ossUrl)).status).toBeLessThan(500);
});

test("servers that the environment names are used, and none is started", async () => {
  const servers = {
    mysqlUrl: "mysql://user:secret@127.0.0.1:1/db",
    redisUrl: "redis://127.0.0.1:2",
    ossUrl: "http://localhost:3",
    oss: { region: "r", bucket: "b", accessKeyId: "i", accessKeySecret: "s" },
  };
  const TMPDIR = await mkdtemp(join(scratch, "named-"));
  const user = startUser({ TMPDIR, ...testServersEnv(servers) });
  expect(await user.firstLine()).toEqual(servers);
  expect(await readdir(TMPDIR)).toEqual([]);
  user.process.kill("SIGKILL");
});

test("when a process that started servers is killed, they end and their folder disappears", async () => {
  const TMPDIR = await mkdtemp(join(scratch, "killed-"));
  const user = startUser({ TMPDIR });
  const { mysqlUrl, redisUrl } = await user.firstLine();
  expect(await readdir(TMPDIR)).toHaveLength(1);
  user.process.kill("SIGKILL");
  const deadline = performance.now() + 5000;
  while ((await readdir(TMPDIR)).length > 0 && performance.now() < deadline) await Bun.sleep(20);
  expect(await readdir(TMPDIR)).toEqual([]);
  await expect(redis(redisUrl, "PING")).rejects.toThrow();
  await expect(query(mysqlUrl, "SELECT 1")).rejects.toThrow();
});

/** A process that asks for the shared servers, prints them and waits. */
function startUser(env: Record<string, string>) {
  const script = `
    import { testServers } from ${JSON.stringify(join(import.meta.dir, "testing.ts"))};
    console.write(JSON.stringify(await testServers()) + "\\n");
    await Bun.sleep(60_000);`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    env: { PATH: process.env.PATH ?? "", ...env },
    stdout: "pipe",
    stderr: "inherit",
  });
  return {
    process: child,
    async firstLine(): Promise<{ mysqlUrl: string; redisUrl: string }> {
      const { value } = await child.stdout.getReader().read();
      return JSON.parse(new TextDecoder().decode(value));
    },
  };
}
