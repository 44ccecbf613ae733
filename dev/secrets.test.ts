import { afterAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { loadSecrets } from "./secrets.ts";

const dir = await mkdtemp(join(tmpdir(), "flick-secrets-"));
afterAll(() => rm(dir, { recursive: true }));

test("secrets are made once, readable by their owner only, and are the same at the next start", async () => {
  const path = join(dir, "first.json");
  const secrets = await loadSecrets(path);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await loadSecrets(path)).toEqual(secrets);
  expect(new Set(Object.values(secrets)).size).toBe(Object.keys(secrets).length);
  expect(secrets.serviceTokenSecret.length).toBeGreaterThanOrEqual(32);
});

test("two folders never share a secret", async () => {
  const [one, two] = await Promise.all([loadSecrets(join(dir, "one.json")), loadSecrets(join(dir, "two.json"))]);
  expect(Object.values(one).some((secret) => Object.values(two).includes(secret))).toBe(false);
});

test("a secret that an older version did not have is added, the others stay", async () => {
  const path = join(dir, "older.json");
  const { upstashToken, ...others } = await loadSecrets(path);
  await writeFile(path, JSON.stringify(others));
  const secrets = await loadSecrets(path);
  expect(secrets).toMatchObject(others);
  expect(secrets.upstashToken).not.toBe(upstashToken);
  expect(JSON.parse(await readFile(path, "utf8"))).toEqual(secrets);
});

test.each(["{", '"text"', '{"mysqlPassword": 1}', '{"mysqlPassword": ""}'])(
  "a damaged file is refused and kept: %s",
  async (text) => {
    const path = join(dir, "damaged.json");
    await writeFile(path, text);
    await expect(loadSecrets(path)).rejects.toThrow("is damaged");
    expect(await readFile(path, "utf8")).toBe(text);
  },
);
