import { availableParallelism } from "node:os";
import { join } from "node:path";

import { checkReport } from "./check.ts";
import { runChecks } from "./checks.ts";
import { provideFlinkCdc } from "./flink-cdc.ts";
import { provideKafka } from "./kafka.ts";
import { standardOutput, type Output } from "./output.ts";
import { onNpxGone } from "./processes.ts";
import { provision } from "./provision.ts";
import { explain } from "./refusal.ts";
import {
  addUp,
  runTestFiles,
  type FileResult,
  type TestCounts,
  type TestFile,
  type TestRunOptions,
} from "./test-files.ts";
import { allPlaces, onKafkaToo, planTests, planWholeRun } from "./test-plan.ts";
import { testServers, testServersEnv } from "./testing.ts";

const help = `Sets up what the tests need, runs check and every test, and ends with "N passed, N failed".

  bun run test              everything
  bun run test <text>...    only the test files whose path contains one of the texts, without check
  bun run test --kafka e2e  the same, with the event log of the whole stacks on Kafka
`;

const root = join(import.meta.dir, "..");
const packages = ["edge-gateway", "origin-services", "media-worker", "db", "platform", "proto", "dev", "bench", "e2e"];

const maxSecondAttempts = 6;
/** Files that a whole run names because they took the longest. */
const namedSlowest = 15;

async function main(filters: string[], onKafka: boolean): Promise<number> {
  const began = performance.now();
  const interrupt = onInterrupt();
  const files = await findTestFiles(filters);
  if (files.length === 0) return conclude([], false);
  const output = standardOutput();
  await provision(["mariadb", "redis", "ffmpeg", "bubblewrap"], output);
  const [servers, checked, noKafka] = await Promise.all([
    testServers(),
    filters.length > 0 ? [] : check(),
    provideBrokers(output),
  ]);
  const env = {
    ...testServersEnv(servers),
    ...(onKafka ? { FLICK_TEST_STACK: "kafka" } : {}),
    ...(process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}),
  };
  const whole = filters.length === 0;
  const plan = whole && noKafka === null ? planWholeRun(files) : planTests(files);
  const places = Math.min(allPlaces, 2 * availableParallelism());
  const results = await runAndTryAgain(plan, { cwd: root, env, places, write, signal: interrupt });
  if (whole) {
    if (noKafka !== null) results.push(withoutKafka(noKafka));
    write(slowest(results, (performance.now() - began) / 1000));
  }
  return conclude([...checked, ...results], interrupt.aborted);
}

/** Once, and not by each file that wants them: the tests say themselves that they are skipped, or fail. Gives why there is no Kafka. */
async function provideBrokers(output: Output): Promise<string | null> {
  const noKafka = await provideKafka(output).then(
    () => null,
    (error: unknown) => explain(error),
  );
  if (noKafka !== null) output.say(`no Kafka to test with: ${noKafka}`);
  await provideFlinkCdc(output).catch((error: unknown) => output.say(`no Flink CDC to test with: ${explain(error)}`));
  return noKafka;
}

/** Here they are skipped, and that is said; in CI it is a failure. */
function withoutKafka(reason: string): FileResult {
  const inCi = process.env.CI === "true";
  const problem = `no Kafka to test with: ${reason}`;
  write(`\nThe end-to-end tests on Kafka are ${inCi ? "not run" : "skipped"}, there is ${problem}\n`);
  const counts = { passed: 0, failed: inCi ? 1 : 0, skipped: inCi ? 0 : onKafkaToo.length };
  return { file: "e2e on Kafka", ...counts, problem, seconds: 0 };
}

/**
 * Runs the files, and a few that failed once more, alone: on a busy machine a server may take longer than a test waits for it. What passes
 * then is named all the same, for somebody to make it steady.
 */
async function runAndTryAgain(plan: readonly TestFile[], options: TestRunOptions): Promise<FileResult[]> {
  const results = await runTestFiles(plan, options);
  const failures = results.filter(({ failed }) => failed > 0).map(({ file }) => file);
  if (failures.length === 0 || failures.length > maxSecondAttempts || options.signal?.aborted) return results;
  write(`\nOnce more, alone: ${failures.join(", ")}\n`);
  const failed = plan.filter(({ file, name = file }) => failures.includes(name));
  const again = await runTestFiles(failed, { ...options, places: 1 });
  const unsteady = again.filter((result) => result.failed === 0).map(({ file }) => file);
  if (unsteady.length > 0) write(`\nUnsteady, passed at the second attempt only: ${unsteady.join(", ")}\n`);
  return results.map((result) => again.find(({ file }) => file === result.file) ?? result);
}

async function check(): Promise<FileResult[]> {
  const results = await runChecks((result) => write(`${checkReport(result)}\n`));
  return results.map(({ name, problem }) => ({
    file: `check: ${name}`,
    passed: problem === null ? 1 : 0,
    failed: problem === null ? 0 : 1,
    skipped: 0,
    problem: null,
    seconds: 0,
  }));
}

/** Where the time went: the files that took the longest, and how long they took together. */
function slowest(results: readonly FileResult[], seconds: number): string {
  const named = results.toSorted((one, other) => other.seconds - one.seconds).slice(0, namedSlowest);
  const together = named.reduce((sum, file) => sum + file.seconds, 0);
  const lines = named.map((file) => `  ${file.seconds.toFixed(1).padStart(6)} s  ${file.file}\n`);
  return `\nOf ${Math.round(seconds)} s, ${Math.round(together)} s in these files:\n${lines.join("")}`;
}

async function findTestFiles(filters: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const name of packages) {
    const found = await Array.fromAsync(new Bun.Glob(`${name}/**/*.test.ts`).scan({ cwd: root }));
    files.push(...found.filter((file) => !file.includes("node_modules/")).toSorted());
  }
  return filters.length === 0 ? files : files.filter((file) => filters.some((filter) => file.includes(filter)));
}

/** Prints what failed and, alone on the last line, the counts; returns the exit code. */
function conclude(results: readonly FileResult[], interrupted: boolean): number {
  const failures = results.filter(({ failed }) => failed > 0);
  if (failures.length > 0) write("\nNot passed:\n");
  for (const { file, failed, problem } of failures) write(`  ${file}: ${problem ?? `${failed} failed`}\n`);
  const total = addUp(results);
  const nothing = total.passed + total.failed === 0;
  if (nothing) write("\nNo test was run.\n");
  if (interrupted) write("\nInterrupted.\n");
  write(`\n${countsText(total)}\n`);
  return total.failed > 0 || nothing || interrupted ? 1 : 0;
}

function countsText({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

/** Aborted by Ctrl-C and its like; the second one ends everything at once. */
function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => (controller.signal.aborted ? process.exit(130) : controller.abort()));
  }
  onNpxGone(() => controller.abort());
  return controller.signal;
}

function write(text: string): void {
  process.stdout.write(text);
}

const args = process.argv.slice(2);
if (args.includes("--help")) {
  write(help);
  process.exit(0);
}
try {
  process.exit(
    await main(
      args.filter((arg) => arg !== "--kafka"),
      args.includes("--kafka"),
    ),
  );
} catch (error) {
  write(`${explain(error)}\n\n0 passed, 1 failed\n`);
  process.exit(1);
}
