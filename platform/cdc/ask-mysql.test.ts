import { afterAll, beforeAll, expect, test } from "bun:test";

import { startFreezingProxy, type FreezingProxy } from "@flick/dev/freezing-proxy.ts";
import { testServers } from "@flick/dev/testing.ts";
import { createPool, type Pool } from "mysql2/promise";

import { askMysql } from "./ask-mysql.ts";

let proxy: FreezingProxy;
let mysql: Pool;

beforeAll(async () => {
  proxy = await startFreezingProxy((await testServers()).mysqlUrl);
  mysql = createPool({ uri: proxy.url, connectionLimit: 1 });
});

afterAll(async () => {
  proxy.stop();
  await mysql.end();
});

test("a server that vanishes without a word costs one query, and the next one goes over a new connection", async () => {
  const sql = "SELECT 1 AS one";
  expect(await askMysql(mysql, { sql })).toMatchObject([{ one: 1 }]);
  proxy.freeze();
  await expect(askMysql(mysql, { sql, timeout: 200 })).rejects.toThrow("timeout");
  expect(await askMysql(mysql, { sql })).toMatchObject([{ one: 1 }]);
  expect(proxy.connections()).toBe(2);
});

test("a query that the server refuses is refused, and the next one is answered", async () => {
  await expect(askMysql(mysql, { sql: "SELECT nothing" })).rejects.toThrow("nothing");
  expect(await askMysql(mysql, { sql: "SELECT ? AS two", values: [2] })).toMatchObject([{ two: 2 }]);
});
