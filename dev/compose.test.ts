import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readWorkerEnv } from "@flick/media-worker/env.ts";
import { readOriginEnv } from "@flick/origin-services/env.ts";
import { readCdcEnv } from "@flick/platform/cdc/env.ts";

import { mountOf, parseComposeFile, type ComposeService } from "./compose-file.ts";
import { makeComposeSecrets } from "./compose-secrets.ts";
import { readOssStoreEnv } from "./oss-store/env.ts";
import { readUpstashFrontEnv } from "./upstash-front/env.ts";

const root = join(import.meta.dir, "..");
const source = await readFile(join(root, "docker-compose.yml"), "utf8");
const compose = parseComposeFile(source);
const services = Object.entries(compose.services);
const ours = services.filter(([, service]) => service.build);

/** Where our programs read their settings, and the setting that is their port. */
const programs: Record<string, { read: () => unknown; port: string }> = {
  origin: { read: readOriginEnv, port: "PORT" },
  cdc: { read: readCdcEnv, port: "PORT" },
  "media-worker": { read: readWorkerEnv, port: "HEALTH_PORT" },
  "oss-store": { read: readOssStoreEnv, port: "OSS_STORE_PORT" },
  "upstash-front": { read: readUpstashFrontEnv, port: "UPSTASH_FRONT_PORT" },
};

/** Ports of everything that listens. */
const ports: Record<string, string | undefined> = {
  mysql: "3306",
  redis: "6379",
  kafka: "9092",
  gateway: environmentOf("gateway")["PORT"],
  ...Object.fromEntries(Object.entries(programs).map(([name, { port }]) => [name, environmentOf(name)[port]])),
};

let secretsDir = "";
beforeAll(async () => {
  secretsDir = await mkdtemp(join(tmpdir(), "flick-compose-"));
  await makeComposeSecrets(secretsDir);
});
afterAll(() => rm(secretsDir, { recursive: true }));

describe("every setting is one that its program reads, with a value that it accepts:", () => {
  test.each(Object.entries(programs))("%s", (name, { read }) => {
    const environment = withSecretsHere(environmentOf(name));
    const known = namesRead(read, environment);
    expect(Object.keys(environment).filter((setting) => !known.has(setting))).toEqual([]);
  });

  test("gateway", async () => {
    const code = await readFile(join(root, "dev/gateway.ts"), "utf8");
    const known = new Set(code.matchAll(/^ +([A-Z_]+): v\./gm).map(([, name]) => name));
    const settings = Object.keys(environmentOf("gateway")).map((setting) => setting.replace(/_FILE$/, ""));
    expect(settings.filter((setting) => !known.has(setting))).toEqual([]);
  });
});

describe("secrets", () => {
  test("are those that the secrets command makes, and each is used", async () => {
    const used = services.flatMap(([, { secrets }]) => secrets.map((secret) => mountOf(secret).source));
    const made = await Array.fromAsync(new Bun.Glob("*").scan(secretsDir));
    expect([...new Set(used)].toSorted()).toEqual(made.toSorted());
    for (const name of made) expect(compose.secrets[name]).toEqual({ file: `./ops/compose/secrets/${name}` });
  });

  test("are given to exactly those services that name their files", () => {
    for (const [name, service] of services) {
      const named = JSON.stringify([service.environment, service.command, service.healthcheck]);
      for (const secret of service.secrets) {
        const { source: secretName, target } = mountOf(secret);
        const byImage = target.startsWith("/docker-entrypoint-initdb.d/");
        expect(byImage || named.includes(target), `${name} names ${secretName}`).toBe(true);
      }
      const given = service.secrets.map((secret) => mountOf(secret).target);
      for (const [path] of named.matchAll(/\/run\/secrets\/[\w.-]+/g)) expect(given, name).toContain(path);
    }
  });

  test("are in no other place: whatever could be one comes from a file", () => {
    const harmless = new Set(["MYSQL_ROOT_HOST", "PASSWORD_THREADS", "UPSTASH_REDIS_REST_URL"]);
    for (const [name, { environment }] of services) {
      for (const [setting, value] of Object.entries(environment)) {
        if (harmless.has(setting) || !/PASSWORD|SECRET|TOKEN|KEY|MYSQL|REDIS/.test(setting)) continue;
        if (setting === "MYSQL_INITDB_SKIP_TZINFO") continue;
        expect(`${name} ${setting} ${value}`).toMatch(/_FILE \/run\/secrets\/[\w.-]+$/);
      }
    }
    expect(source).not.toMatch(/:\/\/[^\s/]*:[^\s/]*@/);
  });
});

describe("start order", () => {
  test("waits only for what says that it is well, or that ends", () => {
    for (const [name, { depends_on: dependencies }] of services) {
      for (const [other, { condition }] of Object.entries(dependencies)) {
        const service = serviceNamed(other);
        if (condition === "service_completed_successfully")
          expect(service.restart, `${name} waits for ${other}`).toBe("no");
        else expect(service.healthcheck?.test?.length, `${name} waits for ${other}`).toBeGreaterThan(1);
      }
    }
  });

  test("puts every server before the programs that are told its address", () => {
    for (const [name, service] of services) {
      const before = new Set(Object.keys(service.depends_on));
      for (const { host } of addressesOf(service)) {
        const elsewhere = ![name, "localhost", "127.0.0.1"].includes(host);
        if (elsewhere) expect(before.has(host), `${name} waits for ${host}`).toBe(true);
      }
    }
  });

  test("every service that stays up says whether it is well", () => {
    for (const [name, { healthcheck, restart }] of services) {
      if (restart !== "no") expect(healthcheck?.test?.length, name).toBeGreaterThan(1);
      // The image's own check would ask a server that does not run.
      else expect(healthcheck?.disable, name).toBe(true);
    }
  });
});

describe("network", () => {
  test("every address names a service at the port where it listens", () => {
    for (const [name, service] of services) {
      for (const { host, port } of addressesOf(service)) {
        const target = host === "127.0.0.1" ? name : host === "localhost" ? "oss-store" : host;
        expect({ in: name, to: target, port }).toEqual({ in: name, to: target, port: ports[target] ?? "none" });
      }
    }
  });

  test("only the gateway and the object store can be reached from outside, and only from this machine", () => {
    const published = services.flatMap(([name, service]) => service.ports.map((port) => `${name} ${port}`));
    expect(published.toSorted()).toEqual(["gateway 127.0.0.1:8080:8080", "oss-store 127.0.0.1:8091:8091"]);
    expect(compose.networks["backend"]?.internal).toBe(true);
    for (const [name, { networks, ports: open }] of services) {
      expect(networks, name).toEqual(open.length > 0 ? ["backend", "edge"] : ["backend"]);
    }
  });
});

describe("images and files", () => {
  test("every image has the tag of one version, or is built here", () => {
    for (const [name, { image, build }] of services) {
      expect(image, name).toMatch(build ? /^flick-[a-z-]+:local$/ : /^[a-z/]+:\d+\.\d+\.\d+(-[a-z]+)?$/);
    }
  });

  test("every volume and config that is used is declared, and the other way round", async () => {
    const volumes = services.flatMap(([, service]) => service.volumes.map((volume) => volume.replace(/:.*/, "")));
    expect([...new Set(volumes)].toSorted()).toEqual(Object.keys(compose.volumes).toSorted());
    const configs = services.flatMap(([, service]) => service.configs.map((config) => mountOf(config).source));
    expect(configs.toSorted()).toEqual(Object.keys(compose.configs).toSorted());
    for (const { file } of Object.values(compose.configs)) expect(await Bun.file(join(root, file)).exists()).toBe(true);
  });
});

test("the file for Alibaba Cloud OSS replaces every setting of the object store but its keys", async () => {
  const overlay = await readFile(join(root, "ops/compose/alibaba-oss.yml"), "utf8");
  const replaced = [...overlay.matchAll(/^ +(OSS_\w+): \$\{\1:\?/gm)].map(([, name = ""]) => name);
  const settings = Object.keys(environmentOf("media-worker")).filter((name) => /^OSS_(?!ACCESS_KEY)/.test(name));
  expect(replaced.toSorted()).toEqual(settings.toSorted());
});

describe("containers", () => {
  test("have no rights to lose, limits, and logs that end", () => {
    for (const [name, service] of services) {
      expect(service, name).toMatchObject({
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
        logging: { driver: "json-file", options: { "max-size": "10m", "max-file": "3" } },
      });
      expect(service.user, name).toMatch(/^(?!root$|0$)\w+$/);
      expect(service.deploy, name).toBeDefined();
      if (service.restart !== "no") expect(service.stop_grace_period, name).toMatch(/^\d+s$/);
    }
  });

  test("of our own write to memory and their volumes only, and leave no zombies", () => {
    for (const [name, service] of ours)
      expect(service, name).toMatchObject({ read_only: true, init: true, user: "bun" });
  });
});

function serviceNamed(name: string): ComposeService {
  const service = compose.services[name];
  if (!service) throw new Error(`docker-compose.yml has no service ${name}`);
  return service;
}

function environmentOf(name: string): Record<string, string> {
  return serviceNamed(name).environment;
}

/** The environment with the paths that the secrets have on this machine. */
function withSecretsHere(environment: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value.replace("/run/secrets", secretsDir)]),
  );
}

/** Runs a program's reader on this environment; returns the names that it asked for. @throws what the reader throws. */
function namesRead(read: () => unknown, environment: Record<string, string>): Set<string> {
  const names = new Set<string>();
  const own = process.env;
  process.env = new Proxy(environment, {
    get(target, name: string) {
      names.add(name);
      return target[name];
    },
  });
  try {
    read();
  } finally {
    process.env = own;
  }
  return names;
}

/** Every host with a port in a service's settings, the secret files that it gets, its command and its health check. */
function addressesOf(service: ComposeService): { host: string; port: string }[] {
  const files = service.secrets.map((secret) => readFileSync(join(secretsDir, mountOf(secret).source), "utf8"));
  const { command = [], healthcheck } = service;
  const texts = [
    ...Object.values(service.environment),
    ...files,
    command.join(" "),
    healthcheck?.test?.join(" ") ?? "",
  ];
  const address = /(?:\/\/(?:[^@\s/]*@)?([a-z][a-z0-9.-]*)|(127\.0\.0\.1))(?::|\/| --port=| -p )(\d+)/g;
  return texts.flatMap((text) =>
    [...text.matchAll(address)].map(([, name, loopback, port]) => ({ host: name ?? loopback ?? "", port: port ?? "" })),
  );
}
