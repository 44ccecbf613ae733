import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { portsOfPlace } from "./ports.ts";
import { startProgram, type Program } from "./program.ts";

export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

/** A test file, and how to run it. */
export interface TestFile {
  file: string;
  /** What the result calls it, if not by its path. */
  name?: string;
  /** Beside what all files are given. */
  env?: Record<string, string>;
  /** How many of the run's places it takes while it runs: all of them, to be alone. Default 1. */
  places?: number;
}

export interface FileResult extends TestCounts {
  /** Its name. */
  file: string;
  /** Why the file counts as failed although none of its tests did; null for any other. */
  problem: string | null;
  /** How long it ran. */
  seconds: number;
}

export interface TestRunOptions {
  /** Where the files' names begin. */
  cwd: string;
  env: Record<string, string>;
  /** Files run side by side as long as they have places enough. */
  places: number;
  write: (text: string) => void;
  /** Kills what runs and starts nothing more. */
  signal?: AbortSignal;
  /** Milliseconds that one file may take. Default 5 min. */
  fileLimitMs?: number;
}

/**
 * Runs test files by `bun test`, each in a process of its own, so that a crash or a leak of one is not the next one's trouble.
 * Whenever there is room, the first of the waiting files that fits begins; one that needs more places than there are waits to be alone.
 * The output of files that run side by side is not mixed. A file that cannot be loaded, crashes, hangs or holds no test counts
 * as one failure.
 */
export async function runTestFiles(files: readonly TestFile[], options: TestRunOptions): Promise<FileResult[]> {
  const waiting = files.map((each, index) => ({ ...each, index, takes: Math.min(each.places ?? 1, options.places) }));
  const running = new Set<Promise<void>>();
  const results: FileResult[] = [];
  const print = inTurn(options.write);
  const reports = await mkdtemp(join(tmpdir(), "flick-reports-"));
  const free = Array.from({ length: options.places }, (_, place) => place);
  const run = async (each: (typeof waiting)[number], taken: readonly number[]) => {
    const report = join(reports, `${each.index}.xml`);
    const env = { ...options.env, FLICK_TEST_PORTS: portsOfPlace(taken[0] ?? 0, options.places), ...each.env };
    results.push(await print((writeLine) => runFile(each, report, writeLine, { ...options, env })));
    free.push(...taken);
  };
  const beginWhatFits = () => {
    for (;;) {
      const next = waiting.findIndex(({ takes }) => takes <= free.length);
      const [each] = next < 0 || options.signal?.aborted ? [] : waiting.splice(next, 1);
      if (!each) return;
      const begun = run(each, free.splice(0, each.takes)).finally(() => running.delete(begun));
      running.add(begun);
    }
  };
  for (beginWhatFits(); running.size > 0; beginWhatFits()) await Promise.race(running);
  await rm(reports, { recursive: true, force: true });
  return results;
}

export function addUp(results: readonly TestCounts[]): TestCounts {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const { passed, failed, skipped } of results) {
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
  }
  return total;
}

async function runFile(
  { file, name = file }: TestFile,
  report: string,
  writeLine: (line: string) => void,
  { cwd, env, signal, fileLimitMs = 300_000 }: TestRunOptions,
): Promise<FileResult> {
  if (name !== file) writeLine(`\n${name}:`);
  const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
  const command = [process.execPath, "test", `./${file}`, ...reporter];
  const began = performance.now();
  const program = startProgram({ name: "test", command, env, cwd }, writeLine);
  const end = await endOf(program, signal, fileLimitMs);
  const seconds = (performance.now() - began) / 1000;
  const counts = await readCounts(report);
  return { file: name, seconds, ...judge(counts, end) };
}

/** How it ended: `exit code 0`, or what went wrong. */
async function endOf(program: Program, signal: AbortSignal | undefined, limitMs: number): Promise<string> {
  let reason: string | undefined;
  const kill = (why: string) => {
    reason ??= why;
    program.kill();
  };
  const interrupt = () => kill("was interrupted");
  const timer = setTimeout(() => kill(`took longer than ${limitMs / 1000} s`), limitMs);
  signal?.addEventListener("abort", interrupt);
  if (signal?.aborted) interrupt();
  const { how } = await program.exited;
  clearTimeout(timer);
  signal?.removeEventListener("abort", interrupt);
  return reason ?? how;
}

function judge(counts: TestCounts | null, end: string): Omit<FileResult, "file" | "seconds"> {
  if (counts === null) {
    const problem = end === "exit code 0" ? "holds no tests" : `ended with no result (${end})`;
    return { passed: 0, failed: 1, skipped: 0, problem };
  }
  if (end === "exit code 0" || counts.failed > 0) return { ...counts, problem: null };
  return { ...counts, failed: 1, problem: `could not be loaded or did not end well (${end})` };
}

/** The totals of a JUnit report; null when there is none, or no test in it. */
async function readCounts(report: string): Promise<TestCounts | null> {
  const text = await readFile(report, "utf8").catch(() => "");
  const head = /<testsuites [^>]*>/.exec(text)?.[0] ?? "";
  const attribute = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const [tests, failed, skipped] = [attribute("tests"), attribute("failures"), attribute("skipped")];
  return tests === 0 ? null : { passed: tests - failed - skipped, failed, skipped };
}

/** Lets the first of several writers through at once; each other one's lines are kept until all before it have ended. */
function inTurn(write: (text: string) => void) {
  const lanes: { lines: string[]; done: boolean }[] = [];
  const flush = () => {
    for (let lane = lanes[0]; lane; lane = lanes[0]) {
      for (const line of lane.lines.splice(0)) write(`${line}\n`);
      if (!lane.done) return;
      lanes.shift();
    }
  };
  return async <T>(job: (writeLine: (line: string) => void) => Promise<T>): Promise<T> => {
    const lane = { lines: [] as string[], done: false };
    lanes.push(lane);
    try {
      return await job((line) => {
        lane.lines.push(line);
        flush();
      });
    } finally {
      lane.done = true;
      flush();
    }
  };
}
