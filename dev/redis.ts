import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { findExecutable } from "./executables.ts";
import { host } from "./ports.ts";
import { redisAnswers } from "./probes.ts";
import type { ProgramSpec } from "./program.ts";

export interface RedisOptions {
  dir: string;
  port: number;
  password: string;
}

/** The server's address with its password. */
export function redisUrl({ port, password }: RedisOptions): string {
  return `redis://:${password}@${host}:${port}`;
}

/** Writes the server's configuration: a file, since every user of this machine can read a command line. */
export async function prepareRedis(options: RedisOptions): Promise<void> {
  const { dir, port, password } = options;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const lines = [
    `bind ${host}`,
    `port ${port}`,
    `requirepass ${password}`,
    `dir ${JSON.stringify(dir)}`,
    // The event log lives here, so a crash may cost one second at most.
    "appendonly yes",
    "appendfsync everysec",
    'save ""',
    "loglevel warning",
  ];
  await writeFile(configFile(options), `${lines.join("\n")}\n`, { mode: 0o600 });
}

/** How to run the server; {@link prepareRedis} comes first. */
export function redisSpec(options: RedisOptions): ProgramSpec {
  return {
    name: "redis",
    command: [findExecutable("redis-server"), configFile(options)],
    probe: () => redisAnswers(redisUrl(options)),
    readyWithinMs: 60_000,
    stopWithinMs: 10_000,
    // The rest is its greeting, and advice on how to tune the kernel for a large server.
    hides: (line) => !/error|fail|fatal|can't|misconf/i.test(line) || line.includes("# WARNING"),
  };
}

const configFile = ({ dir }: RedisOptions) => join(dir, "redis.conf");
