import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import * as v from "valibot";

/** Something that can be said about the code without running it. */
export interface Check {
  name: string;
  /** Null when all is well, else what is wrong, for a person to read. */
  run(): Promise<string | null>;
}

export interface CheckResult {
  name: string;
  problem: string | null;
  ms: number;
}

const root = join(import.meta.dir, "..");
const limitMs = 300_000;
/** Of the gateway, gzipped: an isolate must start in no time. */
const maxWorkerBytes = 300 * 1024;

const checks: readonly Check[] = [
  { name: "tsc", run: () => tool("tsc", ["-p", "tsconfig.json"]) },
  { name: "tsc edge-gateway", run: () => tool("tsc", ["-p", "edge-gateway/tsconfig.json"]) },
  { name: "tsc edge-gateway tests", run: () => tool("tsc", ["-p", "edge-gateway/tsconfig.test.json"]) },
  { name: "tsc docs page", run: () => tool("tsc", ["-p", "edge-gateway/docs-page/tsconfig.json"]) },
  { name: "oxlint", run: () => tool("oxlint", ["--quiet"]) },
  { name: "oxfmt", run: () => tool("oxfmt", ["--check", "."]) },
  { name: "knip", run: () => tool("knip", ["--no-progress"]) },
  { name: "generated proto code", run: generatedCodeIsFresh },
  { name: "bun.lock", run: lockfileNamesNoRegistry },
  { name: "wrangler dry runs", run: workerCanBeDeployed },
];

/** Runs checks side by side; `onDone` is told of each as it ends. */
export function runChecks(onDone: (result: CheckResult) => void): Promise<CheckResult[]> {
  return Promise.all(
    checks.map(async ({ name, run }) => {
      const start = performance.now();
      const problem = await run().catch((error: unknown) => String(error));
      const result = { name, problem, ms: performance.now() - start };
      onDone(result);
      return result;
    }),
  );
}

async function generatedCodeIsFresh(): Promise<string | null> {
  return inTemporaryFolder(async (dir) => {
    const bin = join(root, "proto/node_modules/.bin");
    const problem = await command([join(bin, "buf"), "generate", "-o", dir], {
      cwd: join(root, "proto"),
      env: { PATH: `${bin}:${process.env.PATH}` },
    });
    if (problem !== null) return problem;
    const differences = await command(["diff", "-rq", join(root, "proto/gen"), join(dir, "gen")]);
    return (
      differences &&
      `${differences}\nproto/gen is not what proto/ says. Bring it up to date with: bun run generate:proto`
    );
  });
}

/** A lockfile made with another registry than the default one holds its address, and works in few places. */
async function lockfileNamesNoRegistry(): Promise<string | null> {
  const lines = (await Bun.file(join(root, "bun.lock")).text()).split("\n");
  const number = lines.findIndex((line) => line.includes("://")) + 1;
  return number === 0 ? null : `bun.lock:${number} holds an address. Make it again with the default registry.`;
}

/** To every environment that wrangler.toml has. Under Bun, because wrangler asks for a newer Node than many machines have. */
async function workerCanBeDeployed(): Promise<string | null> {
  const config = await readWranglerConfig();
  const secrets = Object.entries(config).flatMap(([environment, vars]) =>
    secretBindings.filter((name) => name in vars && environment !== "").map((name) => `${environment}: ${name}`),
  );
  if (secrets.length > 0)
    return `wrangler.toml has secrets in it, which belong into \`wrangler secret put\`: ${secrets.join(", ")}`;
  for (const environment of Object.keys(config)) {
    const problem = await inTemporaryFolder(async (dir) => {
      const wrangler = join(root, "node_modules/.bin/wrangler");
      const options = ["--dry-run", `--env=${environment}`, "--outdir", dir];
      const refused = await command([process.execPath, "--bun", wrangler, "deploy", ...options], {
        env: { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true", CI: "true" },
      });
      if (refused !== null) return refused;
      const size = Bun.gzipSync(await Bun.file(join(dir, "worker.js")).arrayBuffer()).byteLength;
      return size < maxWorkerBytes ? null : `the Worker has ${size} bytes gzipped, ${maxWorkerBytes} or more`;
    });
    if (problem !== null) return `environment "${environment}": ${problem}`;
  }
  return null;
}

/** What no environment but the local one may have among its variables, where everybody who may read the code reads it. */
const secretBindings = ["ORIGIN_URL", "UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"];

/** The variables of each environment; the local one's name is empty. */
async function readWranglerConfig(): Promise<Record<string, Record<string, unknown>>> {
  const vars = v.optional(v.record(v.string(), v.unknown()), {});
  const environments = v.record(v.string(), v.object({ vars }));
  const file = v.object({ vars, env: v.optional(environments, {}) });
  const { vars: local, env } = v.parse(file, Bun.TOML.parse(await Bun.file(join(root, "wrangler.toml")).text()));
  return { "": local, ...Object.fromEntries(Object.entries(env).map(([name, { vars: own }]) => [name, own])) };
}

function tool(name: string, args: readonly string[]): Promise<string | null> {
  return command([join(root, "node_modules/.bin", name), ...args]);
}

/** Null when the command succeeds, else what it printed. */
async function command(
  argv: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<string | null> {
  const child = Bun.spawn([...argv], {
    cwd: options.cwd ?? root,
    env: { ...process.env, ...options.env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: limitMs,
  });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (child.exitCode === 0) return null;
  if (child.signalCode)
    return `${output}${errors}\nended by ${child.signalCode} (it may take ${limitMs / 1000} s)`.trim();
  return `${output}${errors}`.trim() || `exit code ${child.exitCode}`;
}

async function inTemporaryFolder<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), "flick-check-"));
  try {
    return await use(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
