import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

import * as v from "valibot";

import { lookUpProcess } from "./processes.ts";
import { signalGroup } from "./program.ts";

const RecordedProcess = v.object({
  name: v.string(),
  pid: v.pipe(v.number(), v.integer(), v.minValue(2)),
  born: v.string(),
});

/** A process, told from a later one with the same number by when it was born. */
export type RecordedProcess = v.InferOutput<typeof RecordedProcess>;

/** Writes down which processes run now. */
export function recordProcesses(file: string, processes: readonly { name: string; pid: number }[]): void {
  const recorded = processes.flatMap(({ name, pid }) => {
    const facts = lookUpProcess(pid);
    return facts ? [{ name, pid, born: facts.born }] : [];
  });
  writeFileSync(`${file}.new`, JSON.stringify(recorded));
  renameSync(`${file}.new`, file);
}

/** Kills the recorded processes that are still the same ones, with their groups; returns them. */
export async function endLeftovers(file: string): Promise<RecordedProcess[]> {
  const alive = readRecords(file).filter(isAlive);
  for (const { pid } of alive) signalGroup(pid, "SIGKILL");
  const deadline = performance.now() + 5000;
  while (alive.some(isAlive) && performance.now() < deadline) await Bun.sleep(10);
  rmSync(file, { force: true });
  return alive;
}

function isAlive({ pid, born }: RecordedProcess): boolean {
  return lookUpProcess(pid)?.born === born;
}

function readRecords(file: string): RecordedProcess[] {
  try {
    return v.parse(v.array(RecordedProcess), JSON.parse(readFileSync(file, "utf8")));
  } catch {
    return [];
  }
}
