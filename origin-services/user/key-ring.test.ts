import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createAuthority } from "@flick/platform/access-token/testing.ts";

import { createRing, describeRing, readRing, removeFromRing, rotateRing } from "./key-ring.ts";

const week = { tokenLifetimeMs: 7 * 24 * 3_600_000 };

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-keys-"));
  path = join(dir, "jwt.json");
});
afterEach(() => rm(dir, { recursive: true }));

const states = async (now: number) =>
  describeRing(await readRing(path), { now, ...week }).map(({ kid, state }) => `${kid} ${state}`);

test("of many who make the first key at once all get the same", async () => {
  await Promise.all(Array.from({ length: 20 }, () => createRing(path)));
  expect(await readRing(path)).toHaveLength(1);
  expect(await readdir(dir)).toEqual(["jwt.json"]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test("a file with one key is a ring, and becomes one in writing when it is rotated", async () => {
  const { kid, privateKeyFile } = await createAuthority("first");
  await writeFile(path, privateKeyFile);
  const now = Date.now();
  expect(await states(now)).toEqual([`${kid} signing`]);
  const second = await rotateRing(path, { ...week, now });
  expect(await states(now)).toEqual([`${kid} signing`, `${second} next`]);
  expect(await states(now + 9_999)).toEqual([`${kid} signing`, `${second} next`]);
  expect(await states(now + 10_000)).toEqual([`${kid} retired`, `${second} signing`]);
});

test.each([0o600, 0o444])("a file that was of mode %i stays so", async (mode) => {
  await createRing(path);
  await chmod(path, mode);
  await rotateRing(path, week);
  expect((await stat(path)).mode & 0o777).toBe(mode);
});

test("a key is honoured until the last token that it may have signed has expired", async () => {
  await createRing(path);
  const first = (await readRing(path))[0]?.kid ?? "";
  const now = Date.now();
  const second = await rotateRing(path, { ...week, now });
  const end = now + 10_000 + 60_000 + week.tokenLifetimeMs;
  expect(await states(end - 1)).toEqual([`${first} retired`, `${second} signing`]);
  expect(await states(end)).toEqual([`${first} expired`, `${second} signing`]);
  const third = await rotateRing(path, { ...week, now: end });
  expect(await states(end)).toEqual([`${second} signing`, `${third} next`]);
});

test("a retired key loses its private part, and nothing else does", async () => {
  await createRing(path);
  const now = Date.now();
  await rotateRing(path, { ...week, now });
  await rotateRing(path, { ...week, now: now + 20_000 });
  const ring = await readRing(path);
  expect(ring.map(({ d }) => d !== undefined)).toEqual([false, true, true]);
  expect(ring.every(({ x }) => x.length === 43)).toBe(true);
});

test("rotations at the same time all come about", async () => {
  await createRing(path);
  const added = await Promise.all(Array.from({ length: 10 }, () => rotateRing(path, week)));
  const kids = (await readRing(path)).map(({ kid }) => kid);
  expect(kids).toEqual(expect.arrayContaining(added));
  expect(kids).toHaveLength(11);
  expect(await readdir(dir)).toEqual(["jwt.json"]);
});

test("a ring holds 20 keys", async () => {
  await createRing(path);
  for (let made = 1; made < 20; made++) await rotateRing(path, week);
  const before = await readFile(path, "utf8");
  expect(rotateRing(path, week)).rejects.toThrow("at most 20 keys");
  expect(await readFile(path, "utf8")).toBe(before);
});

test("a key can be taken out when another can sign, which then does at once", async () => {
  await createRing(path);
  const first = (await readRing(path))[0]?.kid ?? "";
  await Promise.all([
    expect(removeFromRing(path, first)).rejects.toThrow("rotate first"),
    expect(removeFromRing(path, "nobody's")).rejects.toThrow("no key nobody's"),
  ]);
  const now = Date.now();
  const second = await rotateRing(path, { ...week, now });
  await removeFromRing(path, first, now);
  expect(await states(now)).toEqual([`${second} signing`]);
});

test("what is no ring is refused, without a word of what it holds", async () => {
  const { keySet } = await createAuthority("public only");
  for (const text of ["", "{}", "[]", keySet, '{"keys":[]}', '{"d":"secret"}']) {
    await writeFile(path, text);
    const problem = await readRing(path).catch((error: Error) => error.message);
    expect(problem).toBe("it holds no private Ed25519 JSON Web Key with a kid, nor a set of them");
  }
});
