import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createGuard } from "@flick/dev/guard.ts";
import { freePorts } from "@flick/dev/ports.ts";

/** A Worker to run: one module, and what is bound to it. */
export interface Worker {
  name: string;
  code: string;
  text?: Record<string, string>;
  data?: Record<string, Uint8Array>;
}

export interface Workerd {
  /** Of each Worker, by its name. */
  urls: Record<string, string>;
  /** Seconds of CPU that the process has used so far. */
  cpuSeconds(): Promise<number>;
  stop(): Promise<void>;
}

const root = join(import.meta.dir, "..");
const compatibilityDate = "2026-07-01";
const startTimeoutMs = 10_000;

/** Runs Workers in one workerd of its own, without Miniflare in front of it. What they log goes nowhere. */
export async function startWorkerd(workers: readonly Worker[], extra: string[] = []): Promise<Workerd> {
  const { dir, watch } = createGuard(await mkdtemp(join(tmpdir(), "flick-workerd-")));
  const ports = await freePorts(workers.length);
  await Promise.all(
    workers.flatMap(({ name, code, data = {} }) => [
      Bun.write(join(dir, `${name}.js`), code),
      ...Object.entries(data).map(([binding, bytes]) => Bun.write(join(dir, `${name}.${binding}`), bytes)),
    ]),
  );
  await Bun.write(join(dir, "config.capnp"), config(workers, ports));
  const child = Bun.spawn([workerdBinary(), "serve", ...extra, join(dir, "config.capnp")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
    detached: true,
  });
  watch(child.pid);
  const urls = Object.fromEntries(workers.map(({ name }, index) => [name, `http://127.0.0.1:${ports[index]}`]));
  const deadline = performance.now() + startTimeoutMs;
  for (const url of Object.values(urls)) {
    while (!(await fetch(url).catch(() => null))) {
      if (performance.now() > deadline) throw new Error(`workerd did not start within ${startTimeoutMs} ms`);
      await Bun.sleep(20);
    }
  }
  return {
    urls,
    async cpuSeconds() {
      const fields = (await Bun.file(`/proc/${child.pid}/stat`).text()).split(") ")[1]?.split(" ") ?? [];
      // User and system time, in ticks of a hundredth of a second; see proc(5).
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    async stop() {
      child.kill();
      await child.exited;
    },
  };
}

/** One module with everything in it, as a Worker's code. */
export async function bundleWorker(entry: string): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [entry],
    target: "browser",
    format: "esm",
    conditions: ["workerd", "worker", "browser"],
  });
  return (await outputs[0]?.text()) ?? "";
}

/** The gateway as `wrangler deploy` uploads it. */
export async function buildGateway(): Promise<{ code: string; bytes: number; gzipped: number }> {
  const dir = await mkdtemp(join(tmpdir(), "flick-wrangler-"));
  try {
    const wrangler = join(root, "node_modules/.bin/wrangler");
    const child = Bun.spawn([process.execPath, "--bun", wrangler, "deploy", "--dry-run", "--env=", "--outdir", dir], {
      cwd: root,
      env: { ...process.env, WRANGLER_SEND_METRICS: "false", CI: "true" },
      stdout: "ignore",
      stderr: "inherit",
      timeout: 60_000,
    });
    if ((await child.exited) !== 0) throw new Error("wrangler cannot build the gateway");
    const name = (await readdir(dir)).find((each) => each.endsWith(".js"));
    const code = await Bun.file(join(dir, name ?? "worker.js")).text();
    const bytes = new TextEncoder().encode(code);
    return { code, bytes: bytes.byteLength, gzipped: Bun.gzipSync(bytes).byteLength };
  } finally {
    await rm(dir, { recursive: true });
  }
}

function config(workers: readonly Worker[], ports: readonly number[]): string {
  const services = workers.map(({ name, text = {}, data = {} }) => {
    const bindings = [
      ...Object.entries(text).map(([binding, value]) => `(name = "${binding}", text = ${JSON.stringify(value)})`),
      ...Object.keys(data).map((binding) => `(name = "${binding}", data = embed "${name}.${binding}")`),
    ];
    return `(name = "${name}", worker = (
      modules = [(name = "worker.js", esModule = embed "${name}.js")],
      compatibilityDate = "${compatibilityDate}",
      globalOutbound = "local",
      bindings = [${bindings.join(", ")}],
    ))`;
  });
  const sockets = workers.map(
    ({ name }, index) => `(name = "${name}", address = "127.0.0.1:${ports[index]}", http = (), service = "${name}")`,
  );
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "local", network = (allow = ["local"])), ${services.join(", ")}],
  sockets = [${sockets.join(", ")}],
);
`;
}

/** The one that Miniflare runs. */
function workerdBinary(): string {
  const miniflare = Bun.resolveSync("miniflare", join(root, "dev"));
  const { default: path } = createRequire(miniflare)("workerd") as { default: string };
  return path;
}
