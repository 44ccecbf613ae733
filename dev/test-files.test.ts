import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { addUp, runTestFiles, type FileResult, type TestRunOptions } from "./test-files.ts";

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
  "env.test.ts": `test("given", () => expect(process.env.GIVEN).toBe("yes"));`,
};

let cwd = "";
let printed = "";
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), "flick-fixtures-"));
  const head = `import { afterAll, expect, test } from "bun:test";\n`;
  await Promise.all(Object.entries(fixtures).map(([name, code]) => writeFile(join(cwd, name), head + code)));
});
afterAll(() => rm(cwd, { recursive: true }));

async function run(names: (keyof typeof fixtures)[], options: Partial<TestRunOptions> = {}): Promise<FileResult[]> {
  printed = "";
  return runTestFiles(names, { cwd, env: {}, jobs: 1, write: (text) => (printed += text), ...options });
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
  const [result] = await run(["hanging.test.ts"], { fileLimitMs: 500 });
  expect(result?.problem).toBe("ended with no result (took longer than 0.5 s)");
  expect(result?.seconds).toBeGreaterThan(0.4);
  expect(printed).toContain("waiting");
});

test("after an interruption nothing more is started", async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 300);
  const results = await run(["hanging.test.ts", "good.test.ts"], { signal: controller.signal });
  expect(results).toMatchObject([{ file: "hanging.test.ts", problem: "ended with no result (was interrupted)" }]);
});

test("files run side by side, but what they print is not mixed", async () => {
  await run(["first.test.ts", "second.test.ts"], { jobs: 2 });
  const speakers = printed.match(/^(first|second)(?= says)/gm);
  expect(speakers?.map(String)).toEqual([...Array<string>(5).fill("first"), ...Array<string>(5).fill("second")]);
});

test("a file gets the environment of the run", async () => {
  expect(addUp(await run(["env.test.ts"], { env: { GIVEN: "yes" } }))).toMatchObject({ passed: 1, failed: 0 });
});
