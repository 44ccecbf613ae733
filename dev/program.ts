import { Refusal } from "./refusal.ts";

/** How to run one program of the stack. */
export interface ProgramSpec {
  /** At most 8 characters: it stands before each line of its output. */
  name: string;
  command: readonly string[];
  env?: Record<string, string>;
  cwd?: string;
  /** Asked again and again until it says true; may throw meanwhile. Without it a program is ready when it has started. */
  probe?: () => Promise<boolean>;
  /** How long it may take to say so, in milliseconds. Default 30 s. */
  readyWithinMs?: number;
  /** How long it may take to end after SIGTERM, in milliseconds. Default 5 s. */
  stopWithinMs?: number;
  /** Lines that say nothing to a person; they are shown only when the program dies. */
  hides?: (line: string) => boolean;
}

/** A running process. It leads a process group of its own, and whatever is left of that group dies with it. */
export interface Program {
  readonly pid: number;
  /** Resolves when the probe says yes; rejects when the process ends or the time is over (it is killed then). */
  readonly ready: Promise<void>;
  /** Resolves after the end of the process, when all its output has been handed on. */
  readonly exited: Promise<ProgramExit>;
  /** SIGTERM, then SIGKILL after `withinMs`; SIGKILL at once when it is not ready yet. Resolves after the end. */
  stop(withinMs?: number): Promise<void>;
  /** SIGKILL to the whole group, at once. */
  kill(): void;
}

export interface ProgramExit {
  /** `exit code 1`, `SIGKILL`. */
  how: string;
  /** The last lines that `hides` kept back. */
  hidden: string[];
}

const probeIntervalMs = 25;
const maxLineLength = 16_384;
const keptHiddenLines = 20;

/**
 * Starts a program. It dies with this process, however this process ends: on Linux by the kernel's parent-death signal, and
 * our own programs everywhere by Bun's `--no-orphans` (see {@link bunCommand}).
 */
export function startProgram(spec: ProgramSpec, onLine: (line: string) => void): Program {
  const child = Bun.spawn([...diesWithParent, ...spec.command], {
    // A group of its own: a Ctrl-C in the terminal reaches only us, and we stop the programs in their order.
    detached: true,
    env: { ...inherited(), ...spec.env },
    cwd: spec.cwd ?? process.cwd(),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const hidden: string[] = [];
  const take = (line: string) => {
    if (!spec.hides?.(line)) return onLine(line);
    hidden.push(line);
    if (hidden.length > keptHiddenLines) hidden.shift();
  };
  const output = Promise.all([readLines(child.stdout, take), readLines(child.stderr, take)]);
  const kill = () => {
    child.kill("SIGKILL");
    signalGroup(child.pid, "SIGKILL");
  };
  const exited = child.exited.then(async () => {
    kill();
    await Promise.race([output, Bun.sleep(500)]);
    return { how: child.signalCode ? String(child.signalCode) : `exit code ${child.exitCode}`, hidden };
  });
  let isReady = false;
  const becomeReady = async () => {
    try {
      await waitUntilReady(spec, exited);
      isReady = true;
    } catch (error) {
      kill();
      throw error;
    }
  };
  return {
    pid: child.pid,
    exited,
    kill,
    ready: becomeReady(),
    async stop(withinMs = spec.stopWithinMs ?? 5000) {
      // Before it is ready it has nothing to bring to an end, and MariaDB 10.11 hangs for ever when asked to end while it starts.
      if (isReady) child.kill("SIGTERM");
      else kill();
      const deadline = setTimeout(kill, withinMs);
      await exited;
      clearTimeout(deadline);
    },
  };
}

/** The command line of one of our own programs. A `.env` file is for us to read, not for them. */
export function bunCommand(file: string): string[] {
  return [process.execPath, "--no-orphans", "--no-env-file", file];
}

/** Sends a signal to a process group; nothing happens when it is gone. */
export function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

const setpriv = process.platform === "linux" ? Bun.which("setpriv") : null;
const diesWithParent = setpriv ? [setpriv, "--pdeathsig", "KILL", "--"] : [];

/** Of our own environment, what any program may see. The rest is for us: a stray PORT or SERVICES must not reach them. */
function inherited(): Record<string, string> {
  const names = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

async function waitUntilReady(spec: ProgramSpec, exited: Promise<ProgramExit>): Promise<void> {
  const limit = spec.readyWithinMs ?? 30_000;
  const deadline = performance.now() + limit;
  let exit: ProgramExit | undefined;
  void exited.then((result) => (exit = result));
  while (performance.now() < deadline) {
    if (await answers(spec)) return;
    await Bun.sleep(probeIntervalMs);
    if (exit)
      throw new Refusal([`${spec.name} ended with ${exit.how} before it was ready.`, ...exit.hidden].join("\n"));
  }
  throw new Refusal(`${spec.name} was not ready within ${limit / 1000} s.`);
}

async function answers(spec: ProgramSpec): Promise<boolean> {
  if (!spec.probe) return true;
  try {
    return await spec.probe();
  } catch {
    return false;
  }
}

async function readLines(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(cut(line));
    if (rest.length > maxLineLength) {
      take(cut(rest));
      rest = "";
    }
  }
  if (rest) take(cut(rest));
}

function cut(line: string): string {
  return line.length > maxLineLength ? `${line.slice(0, maxLineLength)} … (cut at ${maxLineLength} characters)` : line;
}
