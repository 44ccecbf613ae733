import { execFileSync } from "node:child_process";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

import * as v from "valibot";

import { signalGroup } from "./program.ts";

const RecordedProcess = v.object({
  name: v.string(),
  pid: v.pipe(v.number(), v.integer(), v.minValue(2)),
  born: v.string(),
});

/** A process, told from a later one with the same number by when it was born. */
export type Recorded = v.InferOutput<typeof RecordedProcess>;

/** Writes down which processes run now. */
export function recordProcesses(file: string, processes: readonly { name: string; pid: number }[]): void {
  const recorded = processes.flatMap(({ name, pid }) => {
    const born = birthOf(pid);
    return born === null ? [] : [{ name, pid, born }];
  });
  writeFileSync(`${file}.new`, JSON.stringify(recorded));
  renameSync(`${file}.new`, file);
}

/** Kills the recorded processes that are still the same ones, with their groups; returns them. */
export async function endLeftovers(file: string): Promise<Recorded[]> {
  const alive = readRecords(file).filter(isAlive);
  for (const { pid } of alive) signalGroup(pid, "SIGKILL");
  const deadline = performance.now() + 5000;
  while (alive.some(isAlive) && performance.now() < deadline) await Bun.sleep(10);
  rmSync(file, { force: true });
  return alive;
}

/** Is there a process with this number? One that has ended and waits to be reaped counts as none. */
export function isRunning(pid: number): boolean {
  return birthOf(pid) !== null;
}

function isAlive({ pid, born }: Recorded): boolean {
  return birthOf(pid) === born;
}

/** A text that no two processes with the same number share, or null when there is none. */
function birthOf(pid: number): string | null {
  return process.platform === "linux" ? birthInProc(pid) : birthFromPs(pid);
}

function birthInProc(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the command in parentheses, which may itself hold any character; proc_pid_stat(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, startTicks] = [fields[0], fields[19]];
    if (state === "Z" || startTicks === undefined) return null;
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()} ${startTicks}`;
  } catch {
    return null;
  }
}

function birthFromPs(pid: number): string | null {
  try {
    const [state, ...started] = execFileSync("ps", ["-o", "state=,lstart=", "-p", String(pid)], { encoding: "utf8" })
      .trim()
      .split(/\s+/);
    return state === undefined || state.startsWith("Z") ? null : started.join(" ");
  } catch {
    return null;
  }
}

function readRecords(file: string): Recorded[] {
  try {
    return v.parse(v.array(RecordedProcess), JSON.parse(readFileSync(file, "utf8")));
  } catch {
    return [];
  }
}
