import { describe, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { serviceNames } from "@flick/origin-services/clients.ts";

import { origins, root } from "./testing-compose.ts";

describe("origins", () => {
  const settingOf = (setting: string) => origins.map(({ service }) => service.environment[setting] ?? "");

  test("serve one service each, and every service is there twice", () => {
    expect(settingOf("SERVICES").toSorted()).toEqual([...serviceNames, ...serviceNames].toSorted());
  });

  test("have a NODE_ID of their own, which is part of every id that they make", () => {
    expect(new Set(settingOf("NODE_ID")).size).toBe(origins.length);
  });

  test("announce the address at which the gateway reaches them and no other", () => {
    for (const { name, service } of origins) {
      expect(service.environment["ADVERTISE_URL"]).toBe(`http://${name}:${service.environment["PORT"]}`);
    }
  });

  test("know where every other service is, at the name that its replicas share", () => {
    for (const { name, service } of origins) {
      const own = service.environment["SERVICES"] ?? "";
      expect(service.networks["backend"]?.aliases, name).toEqual([own]);
      for (const other of serviceNames) {
        const url = service.environment[`${other.toUpperCase()}_SERVICE_URL`];
        expect(url, name).toBe(`http://${other}:${service.environment["PORT"]}`);
      }
    }
  });

  test("have the key that signs tokens where they serve users, and nowhere else", () => {
    for (const { name, service } of origins) {
      const servesUsers = service.environment["SERVICES"] === "user";
      expect("JWT_PRIVATE_KEY_FILE" in service.environment, name).toBe(servesUsers);
      expect(service.secrets.includes("jwt-private-key.json"), name).toBe(servesUsers);
    }
  });

  test("take fewer connections than the database has", async () => {
    const cnf = await readFile(join(root, "ops/compose/mysql.cnf"), "utf8");
    const most = Number(/^max_connections = (\d+)$/m.exec(cnf)?.[1]);
    const taken = settingOf("MYSQL_CONNECTIONS").reduce((sum, each) => sum + Number(each), 0);
    // The rest is for migrations, change-data capture and an operator.
    expect(taken).toBeLessThanOrEqual(most * 0.8);
  });
});
