import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessFacts {
  parent: number;
  /** A text that no two processes with the same number share. */
  born: string;
  /** Its title, or the command line it was started with. */
  command: string;
}

/** What the system knows of a process; null when there is none, or when it has ended and waits to be reaped. */
export function lookUpProcess(pid: number): ProcessFacts | null {
  return process.platform === "linux" ? fromProc(pid) : fromPs(pid);
}

export function isRunning(pid: number): boolean {
  return lookUpProcess(pid) !== null;
}

/** The programs that a process has started, and those that they have, as far as they run now. */
export function descendantsOf(pid: number): (ProcessFacts & { pid: number })[] {
  const all = new Map<number, ProcessFacts>();
  for (const other of pidsNow()) {
    const facts = lookUpProcess(other);
    if (facts) all.set(other, facts);
  }
  const descends = (each: number): boolean => {
    const parent = all.get(each)?.parent ?? 0;
    return parent === pid || (parent > 1 && descends(parent));
  };
  return [...all].filter(([each]) => descends(each)).map(([each, facts]) => Object.assign(facts, { pid: each }));
}

/**
 * Calls back once when the `npx` above us has gone: unlike a shell, it dies of a signal without handing it on, and what it
 * started lives on. Does nothing when there is no `npx` above us.
 */
export function onNpxGone(callback: () => void): void {
  const npx = ancestors().find(({ command }) => /^npm exec\b|\/npx(-cli\.js)?\b/.test(command));
  if (!npx) return;
  const timer = setInterval(() => {
    if (lookUpProcess(npx.pid)?.born === npx.born) return;
    clearInterval(timer);
    callback();
  }, 500);
  timer.unref();
}

/** The next few processes above this one: npx, a shell, `bun run`. */
function ancestors(): (ProcessFacts & { pid: number })[] {
  const found = [];
  for (let pid = process.ppid; found.length < 4 && pid > 1;) {
    const facts = lookUpProcess(pid);
    if (!facts) break;
    found.push({ pid, ...facts });
    pid = facts.parent;
  }
  return found;
}

function pidsNow(): number[] {
  const names =
    process.platform === "linux"
      ? readdirSync("/proc")
      : execFileSync("ps", ["-Ao", "pid="], { encoding: "utf8" }).split("\n");
  return names.map(Number).filter((pid) => pid > 0);
}

/** See proc_pid_stat(5). */
function fromProc(pid: number): ProcessFacts | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is a name in parentheses, which may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, parent, startTicks] = [fields[0], Number(fields[1]), fields[19]];
    if (state === "Z" || startTicks === undefined) return null;
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    return { parent, born: `${boot} ${startTicks}`, command };
  } catch {
    return null;
  }
}

function fromPs(pid: number): ProcessFacts | null {
  try {
    const line = execFileSync("ps", ["-o", "state=,ppid=,lstart=,command=", "-p", String(pid)], { encoding: "utf8" });
    // lstart is five words: Mon Nov 23 10:11:12 2026.
    const [, state, parent, born, command] = /^(\S+)\s+(\d+)\s+((?:\S+\s+){4}\S+)\s+(.*)/.exec(line.trim()) ?? [];
    if (!state || state.startsWith("Z") || !parent || !born) return null;
    return { parent: Number(parent), born, command: command ?? "" };
  } catch {
    return null;
  }
}
