import { afterAll, expect, test } from "bun:test";
import { createServer, type Server } from "node:net";

import { freePorts, host, portsOfPlace, requireFreePorts } from "./ports.ts";

const servers: Server[] = [];
afterAll(() => servers.forEach((server) => server.close()));

function occupy(port: number, address = host): Promise<void> {
  const server = createServer();
  servers.push(server);
  return new Promise((resolve) => server.listen(port, address, () => resolve()));
}

test("free ports are all different and can be listened on", async () => {
  const ports = await freePorts(5);
  expect(new Set(ports).size).toBe(5);
  await requireFreePorts(ports.map((port) => ({ owner: "a test", port, variable: "PORT" })));
});

test("a taken port is refused with its number, who wants it and the variable that changes it", async () => {
  const [taken = 0, free = 0] = await freePorts(2);
  await occupy(taken);
  const wanted = [
    { owner: "the gateway", port: taken, variable: "FLICK_PORT" },
    { owner: "the origin", port: free, variable: "FLICK_ORIGIN_PORT" },
  ];
  await expect(requireFreePorts(wanted)).rejects.toThrow(
    `Port ${taken}, wanted by the gateway, is taken by another program. Choose another one with FLICK_PORT=<port>.`,
  );
});

test("a port that another program listens on for every address is taken as well", async () => {
  const [taken = 0] = await freePorts(1);
  await occupy(taken, "0.0.0.0");
  await expect(requireFreePorts([{ owner: "Redis", port: taken, variable: "X" }])).rejects.toThrow("is taken");
});

test("every taken port is named at once", async () => {
  const [one = 0, two = 0] = await freePorts(2);
  await Promise.all([occupy(one), occupy(two)]);
  const wanted = [
    { owner: "MariaDB", port: one, variable: "A" },
    { owner: "Redis", port: two, variable: "B" },
  ];
  const error: Error = await requireFreePorts(wanted).then(
    () => new Error("no error"),
    (reason: Error) => reason,
  );
  expect(error.message.split("\n")).toHaveLength(2);
});

test("two servers that were given the same port are told so", async () => {
  const [port = 0] = await freePorts(1);
  const wanted = [
    { owner: "MariaDB", port, variable: "A" },
    { owner: "Redis", port, variable: "B" },
  ];
  await expect(requireFreePorts(wanted)).rejects.toThrow(`Port ${port}, wanted by Redis, is also given to MariaDB.`);
});

test("no port is found twice, and where a range is given, all are in it", async () => {
  const before = process.env["FLICK_TEST_PORTS"];
  process.env["FLICK_TEST_PORTS"] = portsOfPlace(3, 4);
  try {
    const found = [
      ...(await freePorts(100)),
      ...(await Promise.all(Array.from({ length: 50 }, () => freePorts(2)))).flat(),
    ];
    expect(new Set(found).size).toBe(200);
    for (const port of found) expect(Math.abs(port - 30_500)).toBeLessThanOrEqual(1_500);
  } finally {
    if (before === undefined) delete process.env["FLICK_TEST_PORTS"];
    else process.env["FLICK_TEST_PORTS"] = before;
  }
});
