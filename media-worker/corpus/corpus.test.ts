import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { corpus, runCorpus, startBait } from "./corpus.ts";
import type { EntryResult } from "./run.ts";

// The rest of the corpus: bun run media corpus
const fast = corpus.filter((entry) => entry.fast);
const limitMs = 900_000;
setDefaultTimeout(limitMs);

const results = new Map<string, EntryResult>();
const bait = startBait();
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-corpus-"));
  const options = { dir, bait: bait.url, lanes: 2, signal: AbortSignal.timeout(limitMs) };
  await runCorpus(fast, options, (result) => results.set(result.entry.name, result));
}, limitMs);

afterAll(async () => {
  await bait.stop();
  await rm(dir, { recursive: true, force: true });
});

test.each(fast.map(({ name }) => name))("%j becomes what it should", (name) => {
  expect(results.get(name)?.faults).toEqual([]);
});

test("no file made the worker ask a server for anything", () => {
  expect(bait.requests).toEqual([]);
});

test("the corpus has at least 60 files, each with a name of its own", () => {
  expect(corpus.length).toBeGreaterThanOrEqual(60);
  expect(new Set(corpus.map(({ name }) => name)).size).toBe(corpus.length);
});
