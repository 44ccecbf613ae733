import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { readEnv, url, whole } from "@flick/platform/env.ts";
import { createLog } from "@flick/platform/log.ts";
import { within } from "@flick/platform/within.ts";
import { Miniflare } from "miniflare";
import * as v from "valibot";

export interface GatewayOptions {
  /** Default 0: any free one. */
  port?: number;
  /** Default 127.0.0.1. */
  hostname?: string;
  /** In place of the variables of the same names in wrangler.toml. */
  vars?: Record<string, string>;
  /** Gets every line that the Worker or workerd logs, without its end; standard output by default. */
  log?: (line: string) => void;
}

export interface Gateway {
  /** Without a slash at its end. */
  url: string;
  stop(): Promise<void>;
}

const startTimeoutMs = 20_000;

/**
 * Runs the edge gateway in workerd on this machine, as wrangler.toml describes it. Nothing leaves the machine but its calls to the
 * origin.
 *
 * @throws when the port is taken, or the bindings are not right: the message says which and why.
 */
export async function startGateway(options: GatewayOptions = {}): Promise<Gateway> {
  const config = await readWranglerConfig();
  const { port = 0, hostname = "127.0.0.1", log = printLine } = options;
  // Miniflare takes the path of workerd, and whether it may ask Cloudflare for its location, from here only.
  process.env["MINIFLARE_WORKERD_PATH"] = fileURLToPath(new URL("workerd-guard.sh", import.meta.url));
  process.env["CLOUDFLARE_CF_FETCH_ENABLED"] = "false";
  const runtimeLog = createLog({ program: "workerd", write: (line) => log(line.trimEnd()) });
  const worker = await bundle(config.main);
  const restoreSignals = keepSignals();
  const miniflare = new Miniflare({
    host: hostname,
    port,
    cf: false,
    modules: [{ type: "ESModule", path: "worker.js", contents: worker }],
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
    bindings: { ...config.vars, ...options.vars },
    ratelimits: simulatedLimits(config.ratelimits, Number(options.vars?.["IP_LIMIT_FACTOR"] ?? 1)),
    unsafeRuntimeEnv: { WORKERD_BINARY: workerdBinary() },
    handleStructuredLogs({ level, message }: { level: string; message: string }) {
      if (message.startsWith("{")) log(message);
      // A stack is addresses in workerd's binary, which say nothing to anybody here.
      else if (!message.startsWith("stack: "))
        runtimeLog[level === "error" || level === "warn" ? level : "info"](message);
    },
  });
  restoreSignals();
  try {
    const tooSlow = () => new Error(`workerd did not start within ${startTimeoutMs / 1000} s`);
    const ready = await within(miniflare.ready, startTimeoutMs, tooSlow);
    await assertHealthy(ready);
    return { url: ready.origin, stop: () => miniflare.dispose() };
  } catch (error) {
    await miniflare.dispose().catch(() => {});
    throw error;
  }
}

/**
 * Remembers who listens for the end of this process, and gives back a function that removes whoever came since: Miniflare would
 * exit at once, before the program around it has stopped anything else.
 */
function keepSignals(): () => void {
  const signals = ["SIGINT", "SIGTERM"] as const;
  const kept = new Set(signals.flatMap((signal) => process.listeners(signal)));
  return () => {
    for (const signal of signals) {
      for (const listener of process.listeners(signal)) if (!kept.has(listener)) process.off(signal, listener);
    }
  };
}

const root = new URL("../", import.meta.url);

const wranglerConfig = v.object({
  main: v.string(),
  compatibility_date: v.string(),
  compatibility_flags: v.optional(v.array(v.string()), []),
  vars: v.optional(v.record(v.string(), v.string()), {}),
  ratelimits: v.array(
    v.object({
      name: v.string(),
      namespace_id: v.string(),
      simple: v.object({ limit: v.number(), period: v.picklist([10, 60]) }),
    }),
  ),
});

type WranglerConfig = v.InferOutput<typeof wranglerConfig>;

/** The rate limit bindings as Miniflare takes them. Those that count addresses let through `ipFactor` times as much, as the Worker does. */
function simulatedLimits(limits: WranglerConfig["ratelimits"], ipFactor: number) {
  const simulated = limits.map(({ name, namespace_id, simple: { limit, period } }) => {
    const wide = name.startsWith("LIMIT_IP_") ? limit * ipFactor : limit;
    return [name, { namespace_id, simple: { limit: wide, period } }] as const;
  });
  return Object.fromEntries(simulated);
}

async function readWranglerConfig(): Promise<WranglerConfig> {
  return v.parse(wranglerConfig, Bun.TOML.parse(await Bun.file(new URL("wrangler.toml", root)).text()));
}

/** One module with everything in it, resolved under the conditions that wrangler uses. */
async function bundle(main: string): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [fileURLToPath(new URL(main, root))],
    target: "browser",
    format: "esm",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
  });
  const [output] = outputs;
  if (!output) throw new Error(`nothing was bundled from ${main}`);
  return output.text();
}

/** The binary that this version of Miniflare was made for. */
function workerdBinary(): string {
  const { default: path } = createRequire(Bun.resolveSync("miniflare", import.meta.dir))("workerd") as {
    default: string;
  };
  return path;
}

/** Bad bindings show themselves with the first request only. */
async function assertHealthy(base: URL): Promise<void> {
  const response = await fetch(new URL("/healthz", base), { signal: AbortSignal.timeout(startTimeoutMs) });
  if (response.ok) return void (await response.arrayBuffer());
  const { status_msg: message } = v.parse(v.object({ status_msg: v.string() }), await response.json());
  throw new Error(message);
}

function printLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Settings of the program. Those of the Worker are checked here as far as they are, and again by itself. @throws {EnvError} */
export function readGatewayEnv() {
  return readEnv({
    HOST: v.optional(v.string(), "127.0.0.1"),
    PORT: v.optional(whole(0, 65_535), "8080"),
    ORIGIN_URL: v.optional(url("http:", "https:")),
    UPSTASH_REDIS_REST_URL: v.optional(url("http:", "https:")),
    UPSTASH_REDIS_REST_TOKEN: v.optional(v.string()),
    MAX_UPLOAD_BYTES: v.optional(whole(1024, 4_000_000_000)),
    IP_LIMIT_FACTOR: v.optional(whole(1, 100_000)),
  });
}

/** As a program: the gateway until SIGTERM or SIGINT. */
async function runProgram(): Promise<void> {
  const log = createLog({ program: "gateway" });
  try {
    const { HOST, PORT, ...bindings } = readGatewayEnv();
    const given = Object.entries(bindings).filter(([, value]) => value !== undefined);
    const vars = Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
    const gateway = await startGateway({ hostname: HOST, port: PORT, vars });
    log.info("ready", { url: gateway.url });
    const stop = () => void gateway.stop().then(() => process.exit(0));
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  } catch (error) {
    log.error("cannot start", { problem: error instanceof Error ? error.message : String(error) });
    process.exit(1);
  }
}

if (import.meta.main) await runProgram();
