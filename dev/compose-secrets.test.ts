import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { loadKeys } from "@flick/origin-services/user/keys.ts";
import { createLog } from "@flick/platform/log.ts";

import { makeComposeSecrets } from "./compose-secrets.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-compose-secrets-"));
});
afterEach(() => rm(dir, { recursive: true }));

const contentOf = (name: string) => readFile(join(dir, name), "utf8");

test("any container's user may read a secret, but on this machine only its owner gets to it", async () => {
  for (const name of await makeComposeSecrets(dir)) expect((await stat(join(dir, name))).mode & 0o777).toBe(0o444);
  expect((await stat(dir)).mode & 0o777).toBe(0o700);
});

test("secrets that are there stay as they are", async () => {
  const made = await makeComposeSecrets(dir);
  const before = await Promise.all(made.map(contentOf));
  expect(await makeComposeSecrets(dir)).toEqual([]);
  expect(await Promise.all(made.map(contentOf))).toEqual(before);
});

test("a kind of which no file is there is made anew", async () => {
  await makeComposeSecrets(dir);
  const before = await contentOf("redis-url");
  await rm(join(dir, "oss-access-key-id"));
  await rm(join(dir, "oss-access-key-secret"));
  expect(await makeComposeSecrets(dir)).toEqual(["oss-access-key-id", "oss-access-key-secret"]);
  expect(await contentOf("redis-url")).toBe(before);
});

test("a kind of which some files are missing is left alone, and so is everything else", async () => {
  await makeComposeSecrets(dir);
  await rm(join(dir, "redis-url"));
  await rm(join(dir, "upstash-token"));
  const left = await readdir(dir);
  await expect(makeComposeSecrets(dir)).rejects.toThrow(
    /redis-url missing.*remove redis-auth\.conf, redis-url, redis-infra-url/,
  );
  expect((await readdir(dir)).toSorted()).toEqual(left.toSorted());
});

test("the servers are told the same passwords as the programs", async () => {
  await makeComposeSecrets(dir);
  const others = await contentOf("mysql-users.sql");
  const infraAccount = await contentOf("mysql-infra-user.sql");
  for (const program of ["origin", "migrate", "cdc", "infra"]) {
    const { username, password } = new URL(await contentOf(`mysql-${program}-url`));
    const accounts = program === "infra" ? infraAccount : others;
    expect(accounts).toContain(`CREATE USER '${username}'@'%' IDENTIFIED BY '${password}';\n`);
  }
  for (const url of ["redis-url", "redis-infra-url"]) {
    const { password } = new URL(await contentOf(url));
    expect(await contentOf("redis-auth.conf")).toBe(`requirepass ${password}\n`);
  }
});

test("every secret is another one", async () => {
  const made = await makeComposeSecrets(dir);
  const words = (await Promise.all(made.map(contentOf))).flatMap((content) => content.match(/[0-9a-f]{16,}/g) ?? []);
  // Four passwords of MySQL are in two files each, and the one of Redis in three.
  expect(new Set(words).size).toBe(words.length - 6);
});

test("the origin signs with the key", async () => {
  await makeComposeSecrets(dir);
  const env = {
    SERVICES: ["user" as const],
    JWT_PRIVATE_KEY_FILE: join(dir, "jwt-private-key.json"),
    JWT_CREATE_KEY: "false" as const,
    JWT_PUBLIC_KEYS: undefined,
    TOKEN_TTL_S: 60,
    USER_SERVICE_URL: undefined,
  };
  const { signing } = await loadKeys(env, createLog({ program: "origin", write: () => {} }));
  expect((await signing?.key())?.kid).toBeTruthy();
});
