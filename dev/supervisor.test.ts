import { afterEach, expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { isRunning } from "./processes.ts";
import { createOutput } from "./output.ts";
import type { ProgramSpec } from "./program.ts";
import { createSupervisor, type Supervisor } from "./supervisor.ts";

const supervisors: Supervisor[] = [];
afterEach(() => {
  for (const supervisor of supervisors.splice(0)) supervisor.kill();
});

function setUp(options: { backOffMs?: number[] } = {}) {
  let text = "";
  const gaveUp = Promise.withResolvers<string>();
  const supervisor = createSupervisor({
    output: createOutput({ colour: false, write: (part) => (text += part) }),
    onGiveUp: (reason) => gaveUp.resolve(reason.message),
    backOffMs: options.backOffMs ?? [10],
  });
  supervisors.push(supervisor);
  return { supervisor, printed: () => text, gaveUp: gaveUp.promise };
}

function shell(name: string, script: string, more: Partial<ProgramSpec> = {}): ProgramSpec {
  return { name, command: ["sh", "-c", script], ...more };
}

/** Of the only program that runs. */
function pidOf(supervisor: Supervisor): number {
  const [only] = supervisor.running();
  if (!only) throw new Error("nothing runs");
  return only.pid;
}

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within 5 s: ${what}`);
    await Bun.sleep(5);
  }
}

test("a program that is killed is started again, and that is said", async () => {
  const { supervisor, printed } = setUp();
  await supervisor.start(shell("sleeper", "echo started; exec sleep 60"));
  await until(() => printed().includes("│ started"), "its first line");
  const before = pidOf(supervisor);
  process.kill(before, "SIGKILL");
  await until(() => printed().includes("sleeper runs again"), "it runs again");
  expect(pidOf(supervisor)).not.toBe(before);
  expect(printed()).toContain("sleeper ended with SIGKILL; starting it again in 0.01 s");
  await until(() => printed().match(/sleeper {2}│ started/g)?.length === 2, "both wrote a line");
});

test("a program that keeps dying is given up after five deaths", async () => {
  const { supervisor, gaveUp, printed } = setUp();
  await supervisor.start(shell("fragile", "sleep 0.05; exit 7"));
  expect(await gaveUp).toBe("fragile ended with exit code 7: 5 deaths within a minute, so it is given up.");
  expect(printed().match(/starting it again/g)).toHaveLength(4);
  await Bun.sleep(50);
  expect(supervisor.running()).toEqual([]);
});

test("pauses grow with the deaths", async () => {
  const { supervisor, gaveUp, printed } = setUp({ backOffMs: [1, 2, 3] });
  await supervisor.start(shell("fragile", "sleep 0.02; exit 1"));
  await gaveUp;
  expect([...printed().matchAll(/again in (\S+) s/g)].map((match) => match[1])).toEqual([
    "0.001",
    "0.002",
    "0.003",
    "0.003",
  ]);
});

test("a program that fails before it was ever ready is not tried again, and says why", async () => {
  const { supervisor, printed } = setUp();
  const spec = shell("broken", "echo bad setting >&2; exit 3", { probe: async () => false, hides: () => true });
  await expect(supervisor.start(spec)).rejects.toThrow(
    "broken ended with exit code 3 before it was ready.\nbad setting",
  );
  await Bun.sleep(50);
  expect(printed()).not.toContain("again");
});

test("a program that does not become ready in time is killed and named", async () => {
  const { supervisor } = setUp();
  const spec = shell("slow", "exec sleep 60", { probe: async () => false, readyWithinMs: 100 });
  await expect(supervisor.start(spec)).rejects.toThrow("slow was not ready within 0.1 s.");
  await until(() => supervisor.running().length === 0, "it is gone");
});

test("lines that are hidden show up when the program dies", async () => {
  const { supervisor, printed } = setUp();
  await supervisor.start(shell("server", "echo note; echo other; exec sleep 60", { hides: (line) => line === "note" }));
  await until(() => printed().includes("other"), "its output");
  expect(printed()).not.toContain("note");
  process.kill(pidOf(supervisor), "SIGKILL");
  await until(() => printed().includes("server   │ note"), "the hidden line");
});

test("stopping ends one group after another and restarts nothing", async () => {
  const dir = await mkdtemp(join(tmpdir(), "flick-supervisor-"));
  const log = join(dir, "log");
  const { supervisor, printed } = setUp();
  const script = (name: string) => `trap 'echo ${name} >> ${log}; exit 0' TERM; echo up; while :; do sleep 0.02; done`;
  await Promise.all(["server", "user", "other"].map((name) => supervisor.start(shell(name, script(name)))));
  await until(() => printed().match(/up/g)?.length === 3, "all are up");
  await supervisor.stop([["user"], ["server"]]);
  expect((await readFile(log, "utf8")).trim().split("\n")).toEqual(["user", "server", "other"]);
  expect(supervisor.running()).toEqual([]);
  await rm(dir, { recursive: true });
});

test("a program that does not listen to SIGTERM is killed when its time is over", async () => {
  const { supervisor, printed } = setUp();
  await supervisor.start(
    shell("stubborn", "trap '' TERM; echo up; while :; do sleep 0.02; done", { stopWithinMs: 100 }),
  );
  await until(() => printed().includes("up"), "it is up");
  const pid = pidOf(supervisor);
  const start = performance.now();
  await supervisor.stop();
  expect(performance.now() - start).toBeWithin(90, 4000);
  expect(isRunning(pid)).toBe(false);
});

test("all of a stop takes no longer than it may, however many programs are stubborn", async () => {
  const { supervisor, printed } = setUp();
  const names = ["one", "two", "three"];
  await Promise.all(
    names.map((name) => supervisor.start(shell(name, "trap '' TERM; echo up; while :; do sleep 0.02; done"))),
  );
  await until(() => printed().match(/up/g)?.length === 3, "all are up");
  const start = performance.now();
  await supervisor.stop([["one"], ["two"], ["three"]], 300);
  expect(performance.now() - start).toBeLessThan(4000);
  expect(supervisor.running()).toEqual([]);
});

test("a process that a program leaves behind dies with it", async () => {
  const { supervisor, printed } = setUp();
  await supervisor.start(shell("parent", "sleep 60 & echo child $!; exec sleep 61"));
  await until(() => /child \d+/.test(printed()), "the child's number");
  const child = Number(/child (\d+)/.exec(printed())?.[1]);
  expect(isRunning(child)).toBe(true);
  process.kill(pidOf(supervisor), "SIGKILL");
  await until(() => !isRunning(child), "the child is gone");
});

test("a program that waits to be started again is not started after a stop", async () => {
  const { supervisor, printed } = setUp({ backOffMs: [100] });
  await supervisor.start(shell("sleeper", "exec sleep 60"));
  process.kill(pidOf(supervisor), "SIGKILL");
  await until(() => printed().includes("starting it again"), "its death was seen");
  await supervisor.stop();
  await Bun.sleep(150);
  expect(supervisor.running()).toEqual([]);
});

test("nothing is started once a stop has begun", async () => {
  const { supervisor } = setUp();
  await supervisor.stop();
  await expect(supervisor.start(shell("late", "exit 0"))).rejects.toThrow("late was not started");
});

test("of our environment a program sees what was meant for it only", async () => {
  const { supervisor, printed } = setUp();
  process.env.FLICK_STRAY = "stray";
  await supervisor.start(shell("env", "env; exec sleep 60", { env: { GIVEN: "yes" } }));
  await until(() => printed().includes("GIVEN=yes"), "its environment");
  delete process.env.FLICK_STRAY;
  expect(printed()).toContain("PATH=");
  expect(printed()).not.toContain("stray");
});
