import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { allPlaces, namedFiles, planTests, planWholeRun } from "./test-plan.ts";

const files = [
  "edge-gateway/auth.test.ts",
  "edge-gateway/discovery.test.ts",
  "media-worker/ladder.test.ts",
  "media-worker/worker.test.ts",
  "e2e/chat.test.ts",
  "e2e/feed-cache.test.ts",
  "e2e/social.test.ts",
];
const names = (plan: readonly { file: string; name?: string }[]) => plan.map(({ file, name = file }) => name);

test("the longest files come first, then those that are busy or patient, and then those that are to be alone", () => {
  expect(names(planTests(files))).toEqual([
    "edge-gateway/discovery.test.ts",
    "edge-gateway/auth.test.ts",
    "media-worker/worker.test.ts",
    "media-worker/ladder.test.ts",
    "e2e/chat.test.ts",
    "e2e/social.test.ts",
    "e2e/feed-cache.test.ts",
  ]);
});

test("what transcodes takes two places, and who is to be alone all of them", () => {
  const places = Object.fromEntries(planTests(files).map((each) => [each.file, each.places]));
  expect(places).toMatchObject({
    "edge-gateway/auth.test.ts": 1,
    "media-worker/worker.test.ts": 2,
    "e2e/chat.test.ts": 1,
    "e2e/feed-cache.test.ts": allPlaces,
  });
});

test("a whole run has some once more on Kafka, before those that are to be alone", () => {
  const plan = planWholeRun(files);
  const again = plan.filter(({ name }) => name?.endsWith(" on Kafka"));
  expect(again.map(({ file }) => file)).toEqual(
    ["publish", "social", "cache-truth", "chat"].map((name) => `e2e/${name}.test.ts`),
  );
  for (const { env } of again) expect(env).toEqual({ FLICK_TEST_STACK: "kafka" });
  expect(plan).toHaveLength(files.length + again.length);
  expect(plan.at(-1)?.file).toBe("e2e/feed-cache.test.ts");
});

test("every file that the plan names is there", () => {
  expect(namedFiles.filter((file) => !existsSync(join(import.meta.dir, "..", file)))).toEqual([]);
});
