import { describe, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseEnv } from "node:util";

import { mountOf, parseOverlay } from "./compose-file.ts";
import { readDevEnv } from "./env.ts";
import { compose as base, root, setUpComposeSecrets } from "./testing-compose.ts";

const read = (path: string) => readFile(join(root, path), "utf8");
const overlay = async (name: string) => parseOverlay(await read(`ops/compose/${name}.yml`));
const infra = await overlay("infra");

const secretsDir = setUpComposeSecrets();

test("every secret of any of the files is made by the secrets command, which makes no others", async () => {
  const made = await Array.fromAsync(new Bun.Glob("*").scan(secretsDir()));
  const declared = { ...base.secrets, ...infra.secrets };
  for (const [name, { file }] of Object.entries(declared)) expect(file).toBe(`./ops/compose/secrets/${name}`);
  const services = [...Object.values(base.services), ...Object.values(infra.services)];
  const mounted = services.flatMap(({ secrets }) => [...secrets].map((secret) => mountOf(secret).source));
  expect(Object.keys(declared).toSorted()).toEqual([...new Set(mounted)].toSorted());
  const onThisMachine = (await read("ops/compose/infra.env")).matchAll(/_FILE=ops\/compose\/secrets\/(.+)$/gm);
  const used = new Set([...Object.keys(declared), ...[...onThisMachine].map(([, name = ""]) => name)]);
  expect([...used].toSorted()).toEqual(made.toSorted());
});

describe("the file for the servers alone", () => {
  const left = Object.keys(base.services).filter((name) => !infra.services[name]?.profiles.length);
  /** Of each server, with the port inside its container. */
  const published = new Map(
    left.flatMap((name) => {
      const ports = [...(base.services[name]?.ports ?? []), ...(infra.services[name]?.ports ?? [])];
      return ports.map((port) => [port.slice(0, port.lastIndexOf(":")), `${name}:${port.split(":").at(-1)}`] as const);
    }),
  );

  test("leaves out our programs and nothing else", () => {
    expect(left.toSorted()).toEqual(["kafka", "mysql", "oss-store", "redis", "topics", "upstash-front"]);
    for (const name of Object.keys(infra.services)) expect(Object.keys(base.services)).toContain(name);
    for (const name of left) {
      for (const other of Object.keys(base.services[name]?.depends_on ?? {})) expect(left).toContain(other);
    }
  });

  test("has volumes of its own, because its accounts and keys are others", () => {
    expect(infra.name).toBe("flick-infra");
  });

  test("publishes every server where the settings for `bun dev` look for it, on this machine only", async () => {
    const settings = parseEnv(
      (await read("ops/compose/infra.env")).replaceAll("=ops/compose/secrets/", `=${secretsDir()}/`),
    );
    const { external } = readDevEnv(settings);
    const address = (url = "") => new URL(url).host.replace("localhost", "127.0.0.1");
    const urls = [external.mysqlUrl, external.redisUrl, external.oss?.url, external.upstash?.url];
    const found = [...urls.map(address), external.kafka?.["KAFKA_BROKERS"] ?? "none"];
    expect(found.map((each) => published.get(each))).toEqual([
      "mysql:3306",
      "redis:6379",
      "oss-store:8091",
      "upstash-front:8092",
      "kafka:19092",
    ]);
    for (const each of published.keys()) expect(each).toStartWith("127.0.0.1:");
  });

  test("has Kafka send those who come from this machine back to it", () => {
    const { KAFKA_LISTENERS: listeners, KAFKA_ADVERTISED_LISTENERS: advertised } =
      infra.services["kafka"]?.environment ?? {};
    const [, name] = /(\w+):\/\/127\.0\.0\.1:19092/.exec(advertised ?? "") ?? [];
    expect(published.get("127.0.0.1:19092")).toBe("kafka:19092");
    expect(listeners).toContain(`${name}://:19092`);
    // What the containers are told stays.
    expect(advertised).toContain(base.services["kafka"]?.environment["KAFKA_ADVERTISED_LISTENERS"] ?? "none");
  });
});

test("the file for Alibaba Cloud OSS replaces every setting of the object store but its keys, for all who use it", async () => {
  const { services } = await overlay("alibaba-oss");
  const settingsOf = (environment: Record<string, string>) =>
    Object.keys(environment).filter((name) => /^OSS_(?!ACCESS_KEY|STORE)/.test(name));
  for (const [name, { environment }] of Object.entries(base.services)) {
    if (name === "oss-store") continue;
    const given = services[name];
    expect(settingsOf(given?.environment ?? {}).toSorted(), name).toEqual(settingsOf(environment).toSorted());
    if (given) expect(given.networks, name).toEqual({ egress: {} });
  }
});
