import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { addUp, runTestFiles, type FileResult, type TestFile, type TestRunOptions } from "./test-files.ts";

const fixtures = {
  "good.test.ts": `test("one", () => {}); test("two", () => {}); test.skip("three", () => {});`,
  "bad.test.ts": `test("wrong", () => expect(1).toBe(2)); test("right", () => {});`,
  "broken.test.ts": `import "./nowhere.ts"; test("never", () => {});`,
  "late.test.ts": `test("fine", () => {}); afterAll(() => { throw new Error("too late"); });`,
  "crash.test.ts": `test("fine", () => {}); test("gone", () => process.kill(process.pid, "SIGKILL"));`,
  "empty.test.ts": `console.log("nothing here");`,
  "hanging.test.ts": `test("waits", async () => { console.log("waiting"); await Bun.sleep(60_000); }, 60_000);`,
  "first.test.ts": `test("1", async () => { for (let i = 0; i < 5; i++) { console.log("first says", i); await Bun.sleep(50); } });`,
  "second.test.ts": `test("2", async () => { for (let i = 0; i < 5; i++) { console.log("second says", i); await Bun.sleep(40); } });`,
  "env.test.ts": `test("given", () => expect([process.env.GIVEN, process.env.OWN]).toEqual(["yes", "own"]));`,
  "ports.test.ts": `test("", async () => { console.log("ports", process.env.FLICK_TEST_PORTS); await Bun.sleep(300); });`,
  "busy.test.ts": `test("", async () => { console.log("began", Date.now()); await Bun.sleep(200); console.log("ended", Date.now()); });`,
};

let cwd = "";
let printed = "";
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), "flick-fixtures-"));
  const head = `import { afterAll, expect, test } from "bun:test";\n`;
  await Promise.all(Object.entries(fixtures).map(([name, code]) => writeFile(join(cwd, name), head + code)));
});
afterAll(() => rm(cwd, { recursive: true }));

async function run(
  files: (keyof typeof fixtures | TestFile)[],
  options: Partial<TestRunOptions> = {},
): Promise<FileResult[]> {
  printed = "";
  const all = files.map((file) => (typeof file === "string" ? { file } : file));
  return runTestFiles(all, { cwd, env: {}, places: 1, write: (text) => (printed += text), ...options });
}

test("passed, failed and skipped tests are counted", async () => {
  const results = await run(["good.test.ts", "bad.test.ts"]);
  expect(addUp(results)).toEqual({ passed: 3, failed: 1, skipped: 1 });
  expect(results.map(({ problem }) => problem)).toEqual([null, null]);
  expect(printed).toContain("(fail) wrong");
});

test.each([
  ["broken.test.ts", "ended with no result (exit code 1)"],
  ["crash.test.ts", "ended with no result (SIGKILL)"],
  ["empty.test.ts", "holds no tests"],
] as const)("%s counts as one failure, with the reason", async (file, problem) => {
  expect(await run([file])).toEqual([{ file, problem, passed: 0, failed: 1, skipped: 0, seconds: expect.any(Number) }]);
});

test("an error outside of the tests fails a file whose tests passed", async () => {
  const [result] = await run(["late.test.ts"]);
  expect(result?.failed).toBe(1);
});

test("a file that hangs is killed and named after its time", async () => {
  const [result] = await run(["hanging.test.ts"], { fileLimitMs: 2_000 });
  expect(result?.problem).toBe("ended with no result (took longer than 2 s)");
  expect(result?.seconds).toBeGreaterThan(1.9);
  expect(printed).toContain("waiting");
});

test("after an interruption nothing more is started", async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 300);
  const results = await run(["hanging.test.ts", "good.test.ts"], { signal: controller.signal });
  expect(results).toMatchObject([{ file: "hanging.test.ts", problem: "ended with no result (was interrupted)" }]);
});

test("files run side by side, but what they print is not mixed", async () => {
  await run(["first.test.ts", "second.test.ts"], { places: 2 });
  const speakers = printed.match(/^(first|second)(?= says)/gm);
  expect(speakers?.map(String)).toEqual([...Array<string>(5).fill("first"), ...Array<string>(5).fill("second")]);
});

test("a file gets the environment of the run and its own, and is called by its name", async () => {
  const [result] = await run([{ file: "env.test.ts", name: "env on something", env: { OWN: "own" } }], {
    env: { GIVEN: "yes", OWN: "the run's" },
  });
  expect(result).toMatchObject({ file: "env on something", passed: 1, failed: 0 });
  expect(printed).toContain("env on something:\n");
});

test("files that run side by side look for free ports where no other does", async () => {
  await run(["ports.test.ts", "ports.test.ts", "ports.test.ts"], { places: 3 });
  const ranges = [...printed.matchAll(/^ports (\d+)-(\d+)$/gm)].map(([, first, last]) => [Number(first), Number(last)]);
  const [one = [], two = [], three = []] = ranges.toSorted(([a = 0], [b = 0]) => a - b);
  const bounds = [...one, ...two, ...three];
  expect(bounds).toHaveLength(6);
  expect(bounds.toSorted((a, b) => a - b)).toEqual(bounds);
  expect(new Set(bounds).size).toBe(6);
});

test("a file that needs more places than are free waits, and those that fit go before it", async () => {
  const busy = (name: string, places: number) => ({ file: "busy.test.ts", name, places });
  const results = await run([busy("one", 1), busy("all", 9), busy("two", 2)], { places: 3 });
  expect(results.map(({ file }) => file).toSorted()).toEqual(["all", "one", "two"]);
  expect(results.at(-1)?.file).toBe("all");
  const times = (what: string) =>
    [...printed.matchAll(new RegExp(`^${what} (\\d+)$`, "gm"))].map((found) => Number(found[1]));
  const [began, ended] = [times("began"), times("ended")];
  expect(Math.max(...began)).toBeGreaterThanOrEqual(ended.toSorted((a, b) => a - b)[1] ?? Infinity);
});
