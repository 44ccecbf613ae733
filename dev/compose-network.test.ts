import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { mountOf, type ComposeService } from "./compose-file.ts";
import { compose, namesOf, origins, servers, serviceNamed, services, setUpComposeSecrets } from "./testing-compose.ts";

const secretsDir = setUpComposeSecrets();

/** Ports of everything that listens, by each name that it has. */
const ports = new Map([
  ["mysql", "3306"],
  ["redis", "6379"],
  ["kafka", "9092"],
  ["flink-jobmanager", "8081"],
  ["flink-taskmanager", "6122"],
  ...servers.flatMap(({ name, service, port }) =>
    namesOf(name, service).map((each) => [each, service.environment[port] ?? "none"] as const),
  ),
]);

describe("start order", () => {
  test("waits only for what says that it is well, or that ends", () => {
    for (const [name, { depends_on: dependencies }] of services) {
      for (const [other, { condition }] of Object.entries(dependencies)) {
        const service = serviceNamed(other);
        if (service.restart === "no")
          expect(condition, `${name} waits for ${other}`).toBe("service_completed_successfully");
        else expect(condition, `${name} waits for ${other}`).toBe("service_healthy");
      }
    }
  });

  test("puts every server before the programs that are told its address, but for origins, which tell each other", () => {
    const named = new Map(services.flatMap(([name, service]) => namesOf(name, service).map((each) => [each, service])));
    const isOrigin = (service: ComposeService | undefined) => origins.some((origin) => origin.service === service);
    for (const [name, service] of services) {
      const before = new Set(Object.keys(service.depends_on).flatMap((other) => namesOf(other, serviceNamed(other))));
      for (const { host } of addressesOf(service)) {
        if ([name, "localhost", "127.0.0.1"].includes(host)) continue;
        if (isOrigin(service) && isOrigin(named.get(host))) continue;
        expect(before.has(host), `${name} waits for ${host}`).toBe(true);
      }
    }
  });

  test("has a beginning: nothing waits for itself, over however many others", () => {
    const begun = new Set<string>();
    for (let before = -1; before < begun.size;) {
      before = begun.size;
      for (const [name, { depends_on: dependencies }] of services) {
        if (Object.keys(dependencies).every((other) => begun.has(other))) begun.add(name);
      }
    }
    expect(services.map(([name]) => name).filter((name) => !begun.has(name))).toEqual([]);
  });

  test("ends with the gateway, which waits for every origin", () => {
    expect(Object.keys(serviceNamed("gateway").depends_on)).toEqual(
      expect.arrayContaining(origins.map(({ name }) => name)),
    );
  });
});

describe("network", () => {
  test("every address names a service at the port where it listens", () => {
    for (const [name, service] of services) {
      for (const { host, port } of addressesOf(service)) {
        const target = host === "127.0.0.1" ? name : host === "localhost" ? "oss-store" : host;
        expect({ in: name, to: target, port }).toEqual({ in: name, to: target, port: ports.get(target) ?? "none" });
      }
    }
  });

  test("only the gateway and the object store can be reached from outside, and only from this machine", () => {
    const published = services.flatMap(([name, service]) => service.ports.map((port) => `${name} ${port}`));
    expect(published.toSorted()).toEqual(["gateway 127.0.0.1:8080:8080", "oss-store 127.0.0.1:8091:8091"]);
    expect(compose.networks["backend"]?.internal).toBe(true);
    for (const [name, { networks, ports: open }] of services) {
      expect(Object.keys(networks), name).toEqual(open.length > 0 ? ["backend", "edge"] : ["backend"]);
    }
  });
});

/** Every host with a port in a service's settings, the secret files that it gets, its command and its health check. */
function addressesOf(service: ComposeService): { host: string; port: string }[] {
  const files = service.secrets.map((secret) => readFileSync(join(secretsDir(), mountOf(secret).source), "utf8"));
  const { command = [], healthcheck } = service;
  const brokers = service.environment["KAFKA_BROKERS"]?.split(",") ?? [];
  const texts = [
    ...Object.values(service.environment),
    ...brokers.map((broker) => `kafka://${broker}`),
    ...files,
    command.join(" "),
    healthcheck?.test?.join(" ") ?? "",
  ];
  const address = /(?:\/\/(?:[^@\s/]*@)?([a-z][a-z0-9.-]*)|(127\.0\.0\.1))(?::|\/| --port=| -p )(\d+)/g;
  return texts.flatMap((text) =>
    [...text.matchAll(address)].map(([, name, loopback, port]) => ({ host: name ?? loopback ?? "", port: port ?? "" })),
  );
}
