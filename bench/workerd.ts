import { mkdtemp } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createGuard } from "@flick/dev/guard.ts";
import { freePorts } from "@flick/dev/ports.ts";

const startTimeoutMs = 10_000;
/** Of the clock in which Linux counts a process's time. */
const ticksPerSecond = 100;

/**
 * Runs one Worker in workerd, without Miniflare in front of it.
 *
 * @param entry path of the module that is its entry.
 * @param bindings texts in its environment.
 */
export async function startWorkerd(
  entry: string,
  bindings: Record<string, string>,
): Promise<{ url: string; cpu(): Promise<number>; stop(): Promise<void> }> {
  const { dir, watch } = createGuard(await mkdtemp(join(tmpdir(), "flick-workerd-")));
  const [port = 0] = await freePorts(1);
  const { outputs } = await Bun.build({
    entrypoints: [entry],
    target: "browser",
    format: "esm",
    conditions: ["workerd", "worker", "browser"],
  });
  await Bun.write(join(dir, "worker.js"), (await outputs[0]?.text()) ?? "");
  await Bun.write(join(dir, "config.capnp"), config(port, bindings));
  const server = Bun.spawn([workerdBinary(), "serve", join(dir, "config.capnp")], {
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
  });
  watch(server.pid);
  const url = `http://127.0.0.1:${port}`;
  const end = performance.now() + startTimeoutMs;
  while (!(await answers(url))) {
    if (performance.now() > end) throw new Error(`workerd did not start within ${startTimeoutMs} ms`);
    await Bun.sleep(20);
  }
  return {
    url,
    /** Microseconds of processor time that it has used so far. */
    async cpu() {
      const fields = (await Bun.file(`/proc/${server.pid}/stat`).text()).split(" ");
      return ((Number(fields[13]) + Number(fields[14])) * 1_000_000) / ticksPerSecond;
    },
    async stop() {
      server.kill();
      await server.exited;
    },
  };
}

function config(port: number, bindings: Record<string, string>): string {
  const texts = Object.entries(bindings).map(([name, text]) => `(name = "${name}", text = "${text}")`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "internet", network = (allow = ["local"]))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2026-07-01",
  bindings = [${texts.join(", ")}],
);
`;
}

/** The one that the local gateway runs in. */
function workerdBinary(): string {
  const gateway = createRequire(Bun.resolveSync("@flick/dev/gateway.ts", import.meta.dir));
  const { default: path } = createRequire(gateway.resolve("miniflare"))("workerd") as { default: string };
  return path;
}

function answers(url: string): Promise<boolean> {
  return fetch(url, { method: "HEAD" }).then(
    () => true,
    () => false,
  );
}
