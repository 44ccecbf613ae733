import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { portVariables, type StackPorts } from "./env.ts";
import { isRunning } from "./processes.ts";
import { freePorts } from "./ports.ts";
import { startMariadb, startRedis } from "./testing.ts";

/** Descendants are read from /proc. */
const onLinux = describe.skipIf(process.platform !== "linux");
const startLimitMs = 30_000;
const mainCommand = [process.execPath, "--no-env-file", join(import.meta.dir, "main.ts")];

let dataDir = "";
let ports: StackPorts;
const started: Orchestrator[] = [];

beforeAll(async () => {
  dataDir = join(await mkdtemp(join(tmpdir(), "flick-stack-")), "data");
  const [gateway = 0, origin = 0, oss = 0, upstash = 0, worker = 0, mysql = 0, redis = 0] = await freePorts(7);
  ports = { gateway, origin, oss, upstash, worker, mysql, redis };
});
afterAll(async () => {
  for (const { process } of started) process.kill("SIGKILL");
  await Promise.all(started.map(({ process }) => process.exited));
  await rm(join(dataDir, ".."), { recursive: true, force: true });
});

interface Orchestrator {
  process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  printed(): string;
  /** Resolves when it has printed this. */
  says(text: string | RegExp, withinMs?: number): Promise<void>;
}

/** `bun dev` in a process of its own. */
function bunDev(env: Record<string, string> = {}, command = mainCommand): Orchestrator {
  const portEnv = Object.entries(portVariables).map(([name, variable]) => [
    variable,
    String(ports[name as keyof StackPorts]),
  ]);
  const child = Bun.spawn(command, {
    env: {
      PATH: process.env.PATH ?? "",
      HOME: process.env.HOME ?? "",
      FLICK_DATA_DIR: dataDir,
      ...Object.fromEntries(portEnv),
      ...env,
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array>) => {
    for await (const chunk of stream) text += new TextDecoder().decode(chunk);
  };
  void Promise.all([read(child.stdout), read(child.stderr)]);
  const orchestrator: Orchestrator = {
    process: child,
    printed: () => text,
    async says(expected, withinMs = 10_000) {
      const deadline = performance.now() + withinMs;
      while (!(typeof expected === "string" ? text.includes(expected) : expected.test(text))) {
        if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${expected}\n${text}`);
        await Bun.sleep(10);
      }
    },
  };
  started.push(orchestrator);
  return orchestrator;
}

/** Every process below this one. */
function descendants(pid: number): number[] {
  const found = [pid];
  for (const parent of found) found.push(...(childrenByParent().get(parent) ?? []));
  return found.slice(1);
}

function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
    } catch {
      // It has ended meanwhile.
    }
  }
  return children;
}

function recorded(): { name: string; pid: number }[] {
  return JSON.parse(readFileSync(join(dataDir, "processes.json"), "utf8")) as { name: string; pid: number }[];
}

function pidOf(name: string): number {
  const process = recorded().find((each) => each.name === name);
  if (!process) throw new Error(`${name} does not run`);
  return process.pid;
}

async function gone(pids: number[], withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (pids.some(isRunning)) {
    if (performance.now() > deadline)
      throw new Error(`still running after ${withinMs} ms: ${pids.filter(isRunning).join(" ")}`);
    await Bun.sleep(10);
  }
}

async function feedStatus(): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${ports.gateway}/douyin/feed/`, { signal: AbortSignal.timeout(5000) });
  const { status_code: status } = (await response.json()) as { status_code: number };
  return status;
}

onLinux("bun dev", () => {
  let stack: Orchestrator;

  test("starts the whole stack from nothing and says where it is", async () => {
    const start = performance.now();
    stack = bunDev();
    await stack.says("Ctrl-C stops everything.", startLimitMs);
    // The aim is 10 s on an idle machine; a loaded one gets the double.
    expect(performance.now() - start).toBeLessThan(20_000);
    expect(stack.printed()).toContain(`http://127.0.0.1:${ports.gateway}/douyin/feed/`);
    expect(await feedStatus()).toBe(0);
    expect(
      recorded()
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(["cdc", "gateway", "mariadb", "origin", "oss", "redis", "upstash", "worker"]);
  }, 60_000);

  test("shows none of its secrets, neither on the terminal nor in a command line", () => {
    const secrets = Object.values(
      JSON.parse(readFileSync(join(dataDir, "secrets.json"), "utf8")) as Record<string, string>,
    );
    const commandLines = descendants(stack.process.pid).map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
    expect(commandLines.length).toBeGreaterThanOrEqual(8);
    for (const text of [stack.printed(), ...commandLines]) {
      for (const secret of secrets) expect(text.includes(secret)).toBe(false);
    }
  });

  test("refuses to run twice in one folder, and the first copy goes on", async () => {
    const second = bunDev();
    expect(await second.process.exited).toBe(1);
    expect(second.printed()).toContain(`Another copy is running in ${dataDir}`);
    expect(await feedStatus()).toBe(0);
  });

  test("refuses taken ports by their number, and leaves their owner alone", async () => {
    const other = bunDev({ FLICK_DATA_DIR: join(dataDir, "..", "other") });
    expect(await other.process.exited).toBe(1);
    expect(other.printed()).toContain(`Port ${ports.gateway}, wanted by the gateway, is taken by another program.`);
    expect(other.printed()).toContain(`Port ${ports.mysql}, wanted by MariaDB, is taken by another program.`);
    expect(await feedStatus()).toBe(0);
  });

  test.each(["gateway", "worker", "origin", "cdc", "upstash", "oss", "redis", "mariadb"])(
    "%s is started again after it was killed",
    async (name) => {
      const pid = pidOf(name);
      process.kill(pid, "SIGKILL");
      await stack.says(`${name} ended with SIGKILL; starting it again`);
      await stack.says(`${name} runs again`, 20_000);
      expect(isRunning(pid)).toBe(false);
      expect(pidOf(name)).not.toBe(pid);
    },
    40_000,
  );

  test("serves again after all of that", async () => {
    const deadline = performance.now() + 10_000;
    while ((await feedStatus()) !== 0 && performance.now() < deadline) await Bun.sleep(100);
    expect(await feedStatus()).toBe(0);
  }, 20_000);

  test("ends with 0 on Ctrl-C, and leaves no process", async () => {
    const pids = descendants(stack.process.pid);
    expect(pids.length).toBeGreaterThanOrEqual(8);
    const start = performance.now();
    stack.process.kill("SIGINT");
    expect(await stack.process.exited).toBe(0);
    expect(performance.now() - start).toBeLessThan(12_000);
    await gone(pids, 1000);
  }, 20_000);

  test("starts warm, and kill -9 leaves no process", async () => {
    const start = performance.now();
    stack = bunDev();
    await stack.says("Ctrl-C stops everything.", startLimitMs);
    // The aim is 5 s on an idle machine; a loaded one gets the double.
    expect(performance.now() - start).toBeLessThan(10_000);
    const pids = descendants(stack.process.pid);
    stack.process.kill("SIGKILL");
    await stack.process.exited;
    await gone(pids, 5000);
  }, 60_000);

  test("starts again after kill -9, and a second Ctrl-C ends it at once", async () => {
    stack = bunDev();
    await stack.says("Ctrl-C stops everything.", startLimitMs);
    const pids = descendants(stack.process.pid);
    stack.process.kill("SIGTERM");
    stack.process.kill("SIGINT");
    expect([0, 130]).toContain(await stack.process.exited);
    await gone(pids, 5000);
  }, 60_000);

  test("stops when the npx that started it is killed, which hands no signal on", async () => {
    const npx = join(dataDir, "..", "npx");
    await writeFile(
      npx,
      `await Bun.spawn(${JSON.stringify(mainCommand)}, { stdio: ["ignore", "inherit", "inherit"] }).exited;`,
    );
    stack = bunDev({}, [process.execPath, npx]);
    await stack.says("Ctrl-C stops everything.", startLimitMs);
    const pids = descendants(stack.process.pid);
    stack.process.kill("SIGKILL");
    await gone(pids, 12_000);
    await stack.says("everything has stopped");
  }, 60_000);

  test("can be interrupted while it starts, and leaves no process", async () => {
    stack = bunDev();
    await stack.says("is up");
    const pids = descendants(stack.process.pid);
    stack.process.kill("SIGINT");
    expect(await stack.process.exited).toBe(0);
    await gone(pids, 1000);
  }, 60_000);

  test("gives up with 1 when a program keeps dying, and stops the others", async () => {
    stack = bunDev();
    await stack.says("Ctrl-C stops everything.", startLimitMs);
    const pids = descendants(stack.process.pid);
    for (let death = 1; death <= 5; death++) {
      process.kill(pidOf("cdc"), "SIGKILL");
      if (death < 5) await stack.says(new RegExp(`(cdc runs again[^]*){${death}}`));
    }
    expect(await stack.process.exited).toBe(1);
    expect(stack.printed()).toContain("cdc ended with SIGKILL: 5 deaths within a minute, so it is given up.");
    await gone(pids, 1000);
  }, 60_000);

  test("uses the servers that the environment names, and starts none in their place", async () => {
    const scratch = join(dataDir, "..");
    const [mariadb, redis] = await Promise.all([
      startMariadb({ dir: join(scratch, "their-mysql") }),
      startRedis({ dir: join(scratch, "their-redis") }),
    ]);
    stack = bunDev({ FLICK_DATA_DIR: join(scratch, "external"), MYSQL_URL: mariadb.url, REDIS_URL: redis.url });
    await stack.says("Ctrl-C stops everything.", startLimitMs);
    expect(await feedStatus()).toBe(0);
    expect(stack.printed()).not.toMatch(/(mariadb|redis) is up/);
    expect(stack.printed()).toContain(`MySQL    ${mariadb.url.replace(/:[^:]*@/, "@")}`);
    stack.process.kill("SIGINT");
    expect(await stack.process.exited).toBe(0);
    await Promise.all([mariadb.stop(), redis.stop()]);
  }, 60_000);

  test("forgets everything on dev:reset, which refuses while a copy runs", async () => {
    stack = bunDev();
    await stack.says("Ctrl-C stops everything.", startLimitMs);
    const reset = () =>
      Bun.spawnSync([process.execPath, join(import.meta.dir, "reset.ts")], { env: { FLICK_DATA_DIR: dataDir } });
    const refused = reset();
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr.toString()).toContain("Another copy is running");
    stack.process.kill("SIGINT");
    expect(await stack.process.exited).toBe(0);
    expect(reset().exitCode).toBe(0);
    expect(existsSync(dataDir)).toBe(false);
  }, 60_000);
});
