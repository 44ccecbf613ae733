import { createHash, randomUUID } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

import { findJava } from "./java.ts";
import { resolveJars } from "./maven.ts";
import type { Output } from "./output.ts";
import { host } from "./ports.ts";
import { startProgram, type ProgramSpec } from "./program.ts";
import { provision } from "./provision.ts";
import { Refusal } from "./refusal.ts";

export interface FlinkCdcOptions {
  /** Its checkpoints lie here: a start goes on from the newest one. */
  dir: string;
  /** Of Flink's REST API. */
  port: number;
  mysqlUrl: string;
  kafkaBrokers: string;
  /** Number of a replica: different from the server's own and from every other reader's. */
  serverId: number;
  /** Settings of Flink's that go before `ops/flink-cdc/config.yaml`. */
  flink?: Record<string, string>;
}

/** What runs the job: found once, and the same for all runs. */
export interface FlinkCdcRuntime {
  java: string;
  classPath: string;
}

const root = join(import.meta.dir, "..");
const jobFolder = join(root, "ops", "flink-cdc");
const sourceFolder = join(jobFolder, "src", "main", "java", "flick", "cdc");
const compileLimitMs = 120_000;

/**
 * Finds Java and the jars of Flink, its connectors and Flink CDC, and compiles the job; the first time Maven has to fetch them (about
 * 100 MB).
 *
 * @throws {Refusal} says what is missing.
 */
export async function findFlinkCdc(): Promise<FlinkCdcRuntime> {
  const java = await findJava();
  const jars = await resolveJars(join(jobFolder, "pom.xml"));
  const classes = await compileJob(join(java.home, "bin", "javac"), jars.join(":"));
  return { java: java.program, classPath: [classes, ...jars].join(":") };
}

/** Like {@link findFlinkCdc}, but installs Java and Maven where they are missing and that is possible without asking. @throws {Refusal} */
export async function provideFlinkCdc(output: Output): Promise<FlinkCdcRuntime> {
  const runtime = await findFlinkCdc().catch(() => null);
  if (runtime) return runtime;
  await provision(["java", "maven"], output);
  return findFlinkCdc();
}

/** How to run the job with a Flink of its own in one process. It is ready when it runs; that it has caught up takes longer. */
export function flinkCdcSpec(options: FlinkCdcOptions, runtime: FlinkCdcRuntime): ProgramSpec {
  const settings = {
    "execution.checkpointing.dir": pathToFileURL(join(options.dir, "checkpoints")).href,
    "rest.bind-address": host,
    "rest.bind-port": String(options.port),
    "jobmanager.bind-host": host,
    "taskmanager.bind-host": host,
    // The containers' fixed ports would let one Flink run on a machine, and no second.
    "blob.server.port": "0",
    "metrics.internal.query-service.port": "0",
    "taskmanager.rpc.port": "0",
    ...options.flink,
  };
  return {
    name: "flinkcdc",
    command: [
      runtime.java,
      "-Xms64m",
      "-Xmx384m",
      "-XX:+UseSerialGC",
      // A run that ends with a test is over before the better compiler has paid off.
      "-XX:TieredStopAtLevel=1",
      "-XX:+ExitOnOutOfMemoryError",
      "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
      "-cp",
      runtime.classPath,
      "flick.cdc.Main",
      ...Object.entries(settings).map(([name, value]) => `-D${name}=${value}`),
    ],
    env: {
      FLINK_CONF_DIR: jobFolder,
      MYSQL_URL: options.mysqlUrl,
      KAFKA_BROKERS: options.kafkaBrokers,
      CDC_SERVER_ID: String(options.serverId),
    },
    probe: () => isRunning(options.port),
    readyWithinMs: 90_000,
    stopWithinMs: 15_000,
    hides: (line) => !line.startsWith("flick-cdc: "),
  };
}

async function isRunning(port: number): Promise<boolean> {
  const response = await fetch(`http://${host}:${port}/jobs/overview`, { signal: AbortSignal.timeout(2_000) });
  const { jobs } = (await response.json()) as { jobs: { state: string }[] };
  return jobs.some(({ state }) => state === "RUNNING");
}

/** The folder with the job's classes: compiled once for each state of its sources. */
async function compileJob(javac: string, classPath: string): Promise<string> {
  const sources = (await readdir(sourceFolder)).toSorted().map((name) => join(sourceFolder, name));
  const hash = createHash("sha256").update(classPath);
  for (const source of sources) hash.update(await readFile(source));
  const folder = join(root, ".data", "jars", `flink-cdc-${hash.digest("hex").slice(0, 16)}`);
  if (await exists(folder)) return folder;
  if (!(await exists(javac))) {
    throw new Refusal(`There is no Java compiler at ${javac}: a JDK is needed, not only what runs Java.`);
  }
  const part = `${folder}.${randomUUID()}`;
  await mkdir(dirname(folder), { recursive: true });
  const compiler = startProgram(
    { name: "javac", command: [javac, "-nowarn", "-d", part, "-cp", classPath, ...sources], hides: () => true },
    () => {},
  );
  const timer = setTimeout(compiler.kill, compileLimitMs);
  const { how, hidden } = await compiler.exited;
  clearTimeout(timer);
  if (how !== "exit code 0") throw new Refusal([`ops/flink-cdc cannot be compiled (${how}):`, ...hidden].join("\n"));
  // Another process may have been faster.
  await rename(part, folder).catch(() => rm(part, { recursive: true, force: true }));
  return folder;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
