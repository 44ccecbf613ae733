import { afterAll, beforeAll, expect, test } from "bun:test";

import { killRun } from "./kill-run.ts";
import { runStack, type RunningStack } from "./running-stack.ts";

let flick: RunningStack;
beforeAll(async () => {
  flick = await runStack();
}, 60_000);
afterAll(() => flick.stop(), 30_000);

test("workers that are killed again and again lose no video and publish none twice, and a new one joins in", async () => {
  const run = await killRun(flick, { jobs: 12, kills: 4 });
  process.stdout.write(`${JSON.stringify(run)}\n`);
  expect(run).toMatchObject({ ready: 12, lost: 0, inFeed: 12 });
}, 360_000);
