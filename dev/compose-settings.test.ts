import { describe, expect, test } from "bun:test";

import { readBindings } from "@flick/edge-gateway/env.ts";
import { readWorkerEnv } from "@flick/media-worker/env.ts";
import { readOriginEnv } from "@flick/origin-services/env.ts";
import { readCdcEnv } from "@flick/platform/cdc/env.ts";
import { readEnv } from "@flick/platform/env.ts";
import { kafkaEnv } from "@flick/platform/event-log/open.ts";

import { mountOf } from "./compose-file.ts";
import { readGatewayEnv } from "./gateway.ts";
import { readOssStoreEnv } from "./oss-store/env.ts";
import {
  isFlink,
  known,
  ours,
  servers,
  services,
  setUpComposeSecrets,
  source,
  type ProgramFile,
} from "./testing-compose.ts";
import { readUpstashFrontEnv } from "./upstash-front/env.ts";

const secretsDir = setUpComposeSecrets();

/** What each of our programs reads its settings with. */
const readers: Record<ProgramFile, () => unknown> = {
  "origin-services/main.ts": readOriginEnv,
  "platform/cdc/main.ts": readCdcEnv,
  "platform/event-log/cli.ts": () => readEnv(kafkaEnv),
  "media-worker/main.ts": readWorkerEnv,
  "dev/oss-store/main.ts": readOssStoreEnv,
  "dev/upstash-front/main.ts": readUpstashFrontEnv,
  "dev/gateway.ts": readGateway,
};

describe("settings", () => {
  test("of a program are all that it needs, each one that it reads, with a value that it accepts", () => {
    for (const { name, service, program } of known) {
      const environment = withSecretsHere(service.environment);
      const asked = namesRead(readers[program], environment);
      expect([name, ...Object.keys(environment).filter((setting) => !asked.has(setting))]).toEqual([name]);
    }
  });

  test("are known of every program that stays up", () => {
    const staysUp = ours.filter(([, service]) => service.restart !== "no" && !isFlink(service));
    expect(staysUp.map(([name]) => name)).toEqual(servers.map(({ name }) => name));
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

/** The gateway's settings as the program takes them, and then as the Worker does. */
function readGateway(): void {
  const read = readBindings(readGatewayEnv());
  if ("problems" in read) throw new Error(read.problems.join("; "));
}

/** The environment with the paths that the secrets have on this machine. */
function withSecretsHere(environment: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value.replace("/run/secrets", secretsDir())]),
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
