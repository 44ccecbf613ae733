import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

import { testServers } from "@flick/dev/testing.ts";
import { createPool, type Pool } from "mysql2/promise";

import { askMysql } from "./ask-mysql.ts";

/** Between the pool and the server; each connection, and what it leads to. */
const connections = new Map<Socket, Socket>();
let proxy: Server;
let mysql: Pool;

beforeAll(async () => {
  const target = new URL((await testServers()).mysqlUrl);
  proxy = createServer((socket) => {
    const beyond = connect(Number(target.port), target.hostname);
    connections.set(socket, beyond);
    for (const end of [socket, beyond]) end.on("error", () => {});
    socket.pipe(beyond).pipe(socket);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const { port } = proxy.address() as AddressInfo;
  const address = Object.assign(new URL(target), { host: `127.0.0.1:${port}` });
  mysql = createPool({ uri: address.href, connectionLimit: 1 });
});

afterAll(async () => {
  for (const both of connections) for (const socket of both) socket.destroy();
  proxy.close();
  await mysql.end();
});

test("a server that vanishes without a word costs one query, and the next one goes over a new connection", async () => {
  const sql = "SELECT 1 AS one";
  expect(await askMysql(mysql, { sql })).toMatchObject([{ one: 1 }]);
  for (const [socket, beyond] of connections) {
    socket.unpipe();
    beyond.unpipe();
  }
  await expect(askMysql(mysql, { sql, timeout: 200 })).rejects.toThrow("timeout");
  expect(await askMysql(mysql, { sql })).toMatchObject([{ one: 1 }]);
  expect(connections.size).toBe(2);
});

test("a query that the server refuses is refused, and the next one is answered", async () => {
  await expect(askMysql(mysql, { sql: "SELECT nothing" })).rejects.toThrow("nothing");
  expect(await askMysql(mysql, { sql: "SELECT ? AS two", values: [2] })).toMatchObject([{ two: 2 }]);
});
