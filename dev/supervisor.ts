import { secondsSince, type Output } from "./output.ts";
import { startProgram, type Program, type ProgramSpec } from "./program.ts";
import { Refusal } from "./refusal.ts";

/** Keeps programs running: one that dies is started again after a pause, and one that keeps dying is given up. */
export interface Supervisor {
  /**
   * Starts a program and resolves once it is ready. A program that fails before it was ever ready is not tried again.
   *
   * @throws {Refusal} says which program failed and how.
   */
  start(spec: ProgramSpec): Promise<void>;

  /** Name and process id of every program that runs now. */
  running(): { name: string; pid: number }[];

  /**
   * Stops every program, one group of names after another (those in no group last). A program that has not ended when
   * its time is up is killed; so is everything once `totalMs` (default 10 s) is over.
   */
  stop(groups?: readonly (readonly string[])[], totalMs?: number): Promise<void>;

  /** Kills every program at once. */
  kill(): void;
}

export interface SupervisorOptions {
  output: Output;
  /** Called when a program has died too often; it is not started again. */
  onGiveUp: (reason: Refusal) => void;
  /** Called when a process was started or has ended. */
  onChange?: () => void;
  /** Pauses before the 1st, 2nd, … start after a death within the last minute, in milliseconds. */
  backOffMs?: readonly number[];
  /** So many deaths within a minute and a program is given up. Default 5. */
  maxDeaths?: number;
}

interface Child {
  spec: ProgramSpec;
  program: Program | null;
  /** Times of its deaths in the last minute, as `performance.now()`. */
  deaths: number[];
  restart: ReturnType<typeof setTimeout> | null;
}

const minute = 60_000;

export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { output, backOffMs = [100, 500, 1000, 2000], maxDeaths = 5 } = options;
  const children = new Map<string, Child>();
  let stopping = false;

  /** Resolves when the program is ready; `watch` sees to its death from then on. */
  async function launch(child: Child): Promise<Program> {
    const { name } = child.spec;
    const program = startProgram(child.spec, (line) => output.childLine(name, line));
    child.program = program;
    options.onChange?.();
    void forget(child, program);
    await program.ready;
    return program;
  }

  async function forget(child: Child, program: Program): Promise<void> {
    await program.exited;
    if (child.program === program) child.program = null;
    options.onChange?.();
  }

  async function watch(child: Child, program: Program): Promise<void> {
    const { how, hidden } = await program.exited;
    if (stopping) return;
    for (const line of hidden) output.childLine(child.spec.name, line);
    died(child, `ended with ${how}`);
  }

  function died(child: Child, how: string): void {
    const { name } = child.spec;
    const now = performance.now();
    child.deaths = [...child.deaths.filter((time) => now - time < minute), now];
    if (child.deaths.length >= maxDeaths) {
      options.onGiveUp(
        new Refusal(`${name} ${how}: ${child.deaths.length} deaths within a minute, so it is given up.`),
      );
      return;
    }
    const pause = backOffMs[Math.min(child.deaths.length, backOffMs.length) - 1] ?? 0;
    output.say(`${name} ${how}; starting it again in ${pause / 1000} s`);
    child.restart = setTimeout(() => void startAgain(child), pause);
  }

  async function startAgain(child: Child): Promise<void> {
    const start = performance.now();
    try {
      const program = await launch(child);
      output.say(`${child.spec.name} runs again (${secondsSince(start)})`);
      await watch(child, program);
    } catch (error) {
      if (!stopping)
        died(child, error instanceof Refusal ? `did not come back (${error.message})` : `failed: ${String(error)}`);
    }
  }

  async function stopChild(child: Child, deadline: number): Promise<void> {
    const remaining = Math.max(0, deadline - performance.now());
    await child.program?.stop(Math.min(child.spec.stopWithinMs ?? 5000, remaining));
  }

  return {
    async start(spec) {
      if (stopping) throw new Refusal(`${spec.name} was not started: everything is being stopped.`);
      const child: Child = { spec, program: null, deaths: [], restart: null };
      children.set(spec.name, child);
      const program = await launch(child);
      void watch(child, program);
    },
    running() {
      return [...children.values()].flatMap(({ spec, program }) =>
        program ? [{ name: spec.name, pid: program.pid }] : [],
      );
    },
    async stop(groups = [], totalMs = 10_000) {
      stopping = true;
      const deadline = performance.now() + totalMs;
      for (const { restart } of children.values()) if (restart) clearTimeout(restart);
      const named = new Set(groups.flat());
      const others = [...children.keys()].filter((name) => !named.has(name));
      for (const group of [...groups, others]) {
        const members = group.map((name) => children.get(name)).filter((child) => child !== undefined);
        await Promise.all(members.map((child) => stopChild(child, deadline)));
      }
    },
    kill() {
      stopping = true;
      for (const { program } of children.values()) program?.kill();
    },
  };
}
