import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readBindings } from "@flick/edge-gateway/env.ts";
import { readWorkerEnv } from "@flick/media-worker/env.ts";
import { serviceNames } from "@flick/origin-services/clients.ts";
import { readOriginEnv } from "@flick/origin-services/env.ts";
import { readCdcEnv } from "@flick/platform/cdc/env.ts";
import { readEnv } from "@flick/platform/env.ts";
import { kafkaEnv } from "@flick/platform/event-log/open.ts";
import { changeTopic, topics } from "@flick/platform/event-log/topics.ts";

import { mountOf, parseComposeFile, parseOverlay, type ComposeService } from "./compose-file.ts";
import { makeComposeSecrets } from "./compose-secrets.ts";
import { readGatewayEnv } from "./gateway.ts";
import { readOssStoreEnv } from "./oss-store/env.ts";
import { readUpstashFrontEnv } from "./upstash-front/env.ts";

const root = join(import.meta.dir, "..");
const source = await readFile(join(root, "docker-compose.yml"), "utf8");
const compose = parseComposeFile(source);
const services = Object.entries(compose.services);
const ours = services.filter(([, service]) => service.build);

/** What each of our programs reads its settings with; where it serves, the setting that is its port, and the file that answers its health check. */
const programs: Record<string, { read: () => unknown; port?: string; health?: string }> = {
  "origin-services/main.ts": { read: readOriginEnv, port: "PORT", health: "origin-services/server.ts" },
  "platform/cdc/main.ts": { read: readCdcEnv, port: "PORT", health: "platform/cdc/main.ts" },
  "platform/event-log/cli.ts": { read: () => readEnv(kafkaEnv) },
  "media-worker/main.ts": { read: readWorkerEnv, port: "HEALTH_PORT", health: "media-worker/health.ts" },
  "dev/oss-store/main.ts": { read: readOssStoreEnv, port: "OSS_STORE_PORT", health: "dev/oss-store/oss-store.ts" },
  "dev/upstash-front/main.ts": {
    read: readUpstashFrontEnv,
    port: "UPSTASH_FRONT_PORT",
    health: "dev/upstash-front/upstash-front.ts",
  },
  "dev/gateway.ts": { read: readGateway, port: "PORT", health: "edge-gateway/routes/health.ts" },
};
const known = ours.flatMap(([name, service]) => {
  const program = programs[programOf(service)];
  return program ? [{ name, service, ...program }] : [];
});
const servers = known.flatMap(({ port, health, ...rest }) => (port && health ? [{ port, health, ...rest }] : []));
const origins = servers.filter(({ read }) => read === readOriginEnv);

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

let secretsDir = "";
beforeAll(async () => {
  secretsDir = await mkdtemp(join(tmpdir(), "flick-compose-"));
  await makeComposeSecrets(secretsDir);
});
afterAll(() => rm(secretsDir, { recursive: true }));

describe("settings", () => {
  test("of a program are all that it needs, each one that it reads, with a value that it accepts", () => {
    for (const { name, service, read } of known) {
      const environment = withSecretsHere(service.environment);
      const asked = namesRead(read, environment);
      expect([name, ...Object.keys(environment).filter((setting) => !asked.has(setting))]).toEqual([name]);
    }
  });

  test("are known of every program that stays up", () => {
    const staysUp = ours.filter(([, service]) => service.restart !== "no" && !isFlink(service));
    expect(staysUp.map(([name]) => name)).toEqual(servers.map(({ name }) => name));
  });
});

describe("the event log", () => {
  test("has a topic for every table, and one that is made by accident for nothing", async () => {
    const names = topics.map(({ name }) => name);
    for await (const file of new Bun.Glob("*.ts").scan(join(root, "db/schema"))) {
      const text = await readFile(join(root, "db/schema", file), "utf8");
      for (const [, table = ""] of text.matchAll(/mysqlTable\(\s*"(\w+)"/g))
        expect(names).toContain(changeTopic(table));
    }
    expect(serviceNamed("kafka").environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]).toBe("false");
  });

  test("is there with its topics before anybody uses it", () => {
    for (const [name, { environment, depends_on: dependencies }] of services) {
      if (!environment["KAFKA_BROKERS"] || name === "topics") continue;
      expect(dependencies, name).toMatchObject({
        kafka: { condition: "service_healthy" },
        topics: { condition: "service_completed_successfully" },
      });
    }
  });

  test("gets every change once: of Flink and the tailer one runs", async () => {
    const { services: tailer } = parseOverlay(await readFile(join(root, "ops/compose/tailer.yml"), "utf8"));
    const scaled = (name: string) => [serviceNamed(name).scale, tailer[name]?.scale ?? serviceNamed(name).scale];
    expect(scaled("cdc")).toEqual([0, 1]);
    const flink = services.filter(([, service]) => isFlink(service)).map(([name]) => name);
    expect(Object.keys(tailer).toSorted()).toEqual(["cdc", ...flink].toSorted());
    for (const name of flink) expect(scaled(name), name).toEqual([1, 0]);
    // Whoever waited for one of them would wait for ever where it does not run.
    for (const [name, { depends_on: dependencies }] of services) {
      if (flink.includes(name)) continue;
      for (const other of Object.keys(dependencies)) expect(Object.keys(tailer), name).not.toContain(other);
    }
  });
});

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

describe("secrets", () => {
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
    const harmless = new Set(["MYSQL_ROOT_HOST", "MYSQL_CONNECTIONS", "PASSWORD_THREADS", "UPSTASH_REDIS_REST_URL"]);
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

describe("health", () => {
  test("of every service that stays up is asked for", () => {
    for (const [name, { healthcheck, restart }] of services) {
      if (restart !== "no") expect(healthcheck?.test?.length, name).toBeGreaterThan(1);
      // The image's own check would ask a server that does not run.
      else expect(healthcheck?.disable, name).toBe(true);
    }
  });

  test("of our programs is asked for at their own port, under a path that they answer", async () => {
    for (const { name, service, port, health } of servers) {
      const check = service.healthcheck?.test?.join(" ") ?? "";
      const [, asked, path = ""] = /http:\/\/127\.0\.0\.1:(\d+)(\/\w+)/.exec(check) ?? [];
      expect(asked, name).toBe(service.environment[port]);
      const answers = await readFile(join(root, health), "utf8");
      expect(answers.includes(`"${path}"`) || answers.includes(`key === "${path.slice(1)}"`), `${name} ${path}`).toBe(
        true,
      );
    }
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

describe("containers", () => {
  test("run as somebody without rights, within limits, with logs that end, and write to memory and their volumes only", () => {
    for (const [name, service] of services) {
      expect(service, name).toMatchObject({
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
        read_only: true,
        logging: { driver: "json-file", options: { "max-size": "10m", "max-file": "3" } },
      });
      expect(service.user, name).toMatch(/^(?!root$|0$)\w+$/);
      expect(service.deploy?.resources.limits, name).toBeDefined();
      for (const mount of service.tmpfs) expect(mount, name).toMatch(/^\/[\w/]+:size=\d+m,mode=1777$/);
      if (service.restart !== "no") expect(service.stop_grace_period, name).toMatch(/^\d+s$/);
    }
  });

  test("of our own run as the image's user and leave no zombies", () => {
    for (const [name, service] of ours) {
      expect(service, name).toMatchObject({ init: true, user: isFlink(service) ? "flink" : "bun" });
    }
  });

  test("of which there are several need nothing of their own", () => {
    for (const [name, { deploy, ports: open, environment }] of services) {
      if ((deploy?.replicas ?? 1) === 1) continue;
      expect({ name, open, node: environment["NODE_ID"] }).toEqual({ name, open: [], node: undefined });
    }
  });
});

/** The gateway's settings as the program takes them, and then as the Worker does. */
function readGateway(): void {
  const read = readBindings(readGatewayEnv());
  if ("problems" in read) throw new Error(read.problems.join("; "));
}

/** Is it another's program, in an image of ours? */
function isFlink({ build }: ComposeService): boolean {
  return build?.context === "ops/flink-cdc";
}

/** The file that a service of ours runs. */
function programOf({ command = [] }: ComposeService): string {
  return /\bbun ([\w/-]+\.ts)\b/.exec(command.join(" "))?.[1] ?? "";
}

/** Every name under which other containers find a service. */
function namesOf(name: string, { networks }: ComposeService): string[] {
  return [name, ...(networks["backend"]?.aliases ?? [])];
}

function serviceNamed(name: string): ComposeService {
  const service = compose.services[name];
  if (!service) throw new Error(`docker-compose.yml has no service ${name}`);
  return service;
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
