import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { startGateway } from "./gateway.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
/** Temporary files of what is killed here. */
const scratch = mkdtempSync(join(tmpdir(), "flick-gateway-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** Starts the program and waits until it is ready. */
async function startProgram(env: Record<string, string> = {}) {
  const child = spawnProgram(env);
  const { promise: ready, resolve, reject } = Promise.withResolvers<string>();
  void readUrl(child.stdout, resolve).then((text) => reject(new Error(`the gateway did not start: ${text}`)));
  return { child, url: await ready, workerd: childrenOf(child.pid) };
}

/** Reads a program's output to its end, for a closed pipe would end the program. */
async function readUrl(output: ReadableStream<Uint8Array>, found: (url: string) => void): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of output) {
    text += decoder.decode(chunk, { stream: true });
    const url = /"ready","url":"([^"]+)"/.exec(text)?.[1];
    if (url) found(url);
  }
  return text;
}

function spawnProgram(env: Record<string, string>) {
  const child = Bun.spawn([process.execPath, "dev/gateway.ts"], {
    cwd: root,
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", TMPDIR: scratch, PORT: "0", ...env },
    stdout: "pipe",
    stderr: "inherit",
  });
  cleanups.push(() => {
    child.kill("SIGKILL");
    return child.exited;
  });
  return child;
}

function childrenOf(pid: number): number[] {
  const { stdout } = Bun.spawnSync(["ps", "-A", "-o", "pid=,ppid="]);
  const rows = stdout.toString().trim().split("\n");
  return rows.flatMap((row) => {
    const [child, parent] = row.trim().split(/\s+/).map(Number);
    return child !== undefined && parent === pid ? [child] : [];
  });
}

function isAlive(pid: number): boolean {
  const { stdout } = Bun.spawnSync(["ps", "-o", "stat=", "-p", String(pid)]);
  const state = stdout.toString().trim();
  return state !== "" && !state.startsWith("Z");
}

async function untilGone(pids: number[]): Promise<void> {
  const deadline = performance.now() + 5000;
  while (pids.some(isAlive)) {
    if (performance.now() > deadline) throw new Error(`still running: ${pids.filter(isAlive).join(", ")}`);
    await Bun.sleep(20);
  }
}

test("runs the Worker with the settings of wrangler.toml, and variables in their place", async () => {
  using origin = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("", { status: 503 }) });
  const lines: string[] = [];
  const gateway = await startGateway({
    vars: { ORIGIN_URL: origin.url.href, MAX_UPLOAD_BYTES: "2000" },
    log: (line) => lines.push(line),
  });
  cleanups.push(gateway.stop);
  expect(gateway.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  const tooLarge = await fetch(`${gateway.url}/douyin/publish/action`, {
    method: "POST",
    body: new Uint8Array(70_000),
    headers: { "content-type": "multipart/form-data; boundary=b" },
  });
  expect(await tooLarge.text()).toContain("2000 bytes");
  // Lines come through a pipe, a moment after the answer.
  const deadline = performance.now() + 5000;
  while (lines.length < 2 && performance.now() < deadline) await Bun.sleep(10);
  const lastLine: unknown = JSON.parse(lines.at(-1) ?? "");
  expect(lastLine).toMatchObject({ message: "request", route: "/douyin/publish/action", status: 413 });
  // It would say so of limiters that it has no bindings for.
  expect(lines.join()).not.toContain("LIMIT_");
});

test("refuses to start with bad bindings and says which", async () => {
  await expect(
    startGateway({ vars: { ORIGIN_URL: "nowhere", MAX_UPLOAD_BYTES: "much" }, log: () => {} }),
  ).rejects.toThrow(/ORIGIN_URL must be a URL.*MAX_UPLOAD_BYTES must be a whole number/);
});

test("refuses to start on a port that is taken and leaves nothing behind", async () => {
  using other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const before = childrenOf(process.pid);
  await expect(startGateway({ port: other.port ?? 0, log: () => {} })).rejects.toThrow(String(other.port));
  await untilGone(childrenOf(process.pid).filter((pid) => !before.includes(pid)));
});

test("as a program says what is wrong with its environment and ends with 1", async () => {
  const child = spawnProgram({ PORT: "http", ORIGIN_URL: "ftp://x" });
  const output = await new Response(child.stdout).text();
  expect(await child.exited).toBe(1);
  expect(output).toContain("PORT: must be a whole number");
  expect(output).toContain("ORIGIN_URL: must be a URL");
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "as a program stops on %s with everything that it started",
  async (signal) => {
    const { child, url, workerd } = await startProgram();
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(workerd).toHaveLength(1);
    child.kill(signal);
    expect(await child.exited).toBe(0);
    await untilGone(workerd);
  },
);

test.skipIf(!Bun.which("setpriv"))("as a program leaves no orphan when it is killed", async () => {
  const { child, workerd } = await startProgram();
  expect(workerd).toHaveLength(1);
  child.kill("SIGKILL");
  await untilGone(workerd);
});

test("as a program comes back on the same port when workerd dies", async () => {
  const { child, url, workerd } = await startProgram();
  for (const pid of workerd) process.kill(pid, "SIGKILL");
  await untilGone(workerd);
  const deadline = performance.now() + 5000;
  const answers = () =>
    fetch(`${url}/healthz`).then(
      (response) => response.ok,
      () => false,
    );
  while (!(await answers()) && performance.now() < deadline) await Bun.sleep(50);
  expect(await answers()).toBe(true);
  expect(childrenOf(child.pid)).toHaveLength(1);
});

test("is what `wrangler deploy` would upload, without a local address in production", async () => {
  const wrangler = fileURLToPath(new URL("../node_modules/.bin/wrangler", import.meta.url));
  const child = Bun.spawn(
    [process.execPath, "--bun", wrangler, "deploy", "--dry-run", "--env", "production", "--outdir", scratch],
    { cwd: root, env: { ...process.env, WRANGLER_SEND_METRICS: "false" }, stdout: "pipe", stderr: "pipe" },
  );
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  expect({ exitCode: await child.exited, errors }).toMatchObject({ exitCode: 0 });
  expect(output).toContain("MAX_UPLOAD_BYTES");
  expect(output).not.toContain("127.0.0.1");
  expect(await Bun.file(`${scratch}/worker.js`).exists()).toBe(true);
});
