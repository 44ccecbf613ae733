import { realpath } from "node:fs/promises";
import { dirname, join } from "node:path";

import { Refusal } from "./refusal.ts";

export interface Java {
  /** Absolute path of the `java` program. */
  program: string;
  /** What tools of its own, such as Maven, want to have in JAVA_HOME. */
  home: string;
  /** 17, 21, … */
  version: number;
}

const versionLimitMs = 20_000;
let found: Promise<Java> | undefined;

/**
 * The Java of JAVA_HOME, else the one on PATH; looked for once per process.
 *
 * @throws {Refusal} when there is none, or when it is older than `oldest`.
 */
export async function findJava(oldest = 17): Promise<Java> {
  found ??= lookUp();
  const java = await found.catch((error: unknown) => {
    // It may be installed before the next call.
    found = undefined;
    throw error;
  });
  if (java.version < oldest) {
    throw new Refusal(
      `Java ${oldest} or newer is needed, and ${java.program} is Java ${java.version}. Install a newer one, or name it with JAVA_HOME.`,
    );
  }
  return java;
}

async function lookUp(): Promise<Java> {
  const { JAVA_HOME } = process.env;
  const program = JAVA_HOME ? join(JAVA_HOME, "bin", "java") : Bun.which("java");
  const missing = JAVA_HOME ? `There is no working Java at JAVA_HOME (${JAVA_HOME}).` : "Java is not installed.";
  if (program === null) throw new Refusal(missing);
  const version = await versionOf(program).catch(() => null);
  if (version === null) throw new Refusal(missing);
  return { program, home: dirname(dirname(await realpath(program))), version };
}

/** `openjdk version "17.0.15" 2025-04-15` is its first line. Before Java 9 it was `"1.8.0_402"`. */
async function versionOf(program: string): Promise<number | null> {
  const child = Bun.spawn([program, "-version"], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: versionLimitMs,
  });
  const text = await child.stderr.text();
  const [, version] = /version "(?:1\.)?(\d+)/.exec(text) ?? [];
  return version === undefined ? null : Number(version);
}
