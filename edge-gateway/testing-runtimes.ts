import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { startGateway } from "@flick/dev/gateway.ts";

import { standaloneVariables } from "./standalone.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

export interface RunningGateway {
  url: string;
  log: string[];
  stop(): Promise<void>;
}

/** A runtime: starts the gateway with these bindings. @throws when they are not right, with what it said. */
type Runtime = (bindings: Record<string, string>) => Promise<RunningGateway>;

const workerd: Runtime = async (vars) => {
  const log: string[] = [];
  const { url, stop } = await startGateway({ vars, log: (line) => void log.push(line) });
  return { url, log, stop };
};

const bun: Runtime = (bindings) => run([process.execPath, "--no-env-file", "edge-gateway/bun.ts"], bindings);

const deno: Runtime = (bindings) => {
  // No more than it needs: the network, and its own variables.
  const allowed = ["--allow-net", `--allow-env=${standaloneVariables.join(",")}`];
  const flags = [
    "--no-prompt",
    "--no-lock",
    "--no-remote",
    "--node-modules-dir=manual",
    "--unstable-no-legacy-abort",
    ...allowed,
  ];
  return run([denoBinary ?? "", "run", ...flags, "edge-gateway/deno.ts"], bindings);
};

/** The program itself: what npm puts in its place hands no signal on. Null on systems that npm has none for. */
const denoBinary = findDeno();

function findDeno(): string | null {
  const { runInstall } = createRequire(Bun.resolveSync("deno/package.json", root))("./install_api.cjs") as {
    runInstall: () => string;
  };
  try {
    return runInstall();
  } catch {
    return null;
  }
}

/** Runs the gateway as a program until it says where it listens. */
async function run(command: string[], bindings: Record<string, string>): Promise<RunningGateway> {
  const child = Bun.spawn(command, {
    cwd: root,
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", PORT: "0", ...bindings },
    stdout: "pipe",
    stderr: "inherit",
  });
  const log: string[] = [];
  const { promise: url, resolve, reject } = Promise.withResolvers<string>();
  const read = async () => {
    let rest = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        log.push(line);
        const { message, url: address } = JSON.parse(line) as { message: string; url?: string };
        if (message === "listening" && address) resolve(address);
      }
    }
    reject(new Error(log.join("\n")));
  };
  const output = read();
  return {
    url: await url,
    log,
    async stop() {
      child.kill("SIGTERM");
      const code = await child.exited;
      if (code !== 0) throw new Error(`the gateway ended with ${code}`);
      await output;
    },
  };
}

/** All of them, by name; null where there is none for this system. */
export const runtimes: [name: string, runtime: Runtime | null][] = [
  ["workerd", workerd],
  ["Bun", bun],
  ["Deno", denoBinary === null ? null : deno],
];
