import { existsSync } from "node:fs";
import { join } from "node:path";

import { runCommandLine } from "@flick/platform/command.ts";
import { createConfigStore, type ConfigStore } from "@flick/platform/live-config/config-store.ts";
import { checkSettings, type ConfigDocument } from "@flick/platform/live-config/document.ts";
import { describeSettings, type SettingsSchema } from "@flick/platform/live-config/settings.ts";
import { createLog } from "@flick/platform/log.ts";
import { createRedisConnection, isRedisError } from "@flick/platform/redis-connection.ts";

import { readDevEnv } from "../env.ts";
import { redisUrl } from "../redis.ts";
import { explain, Refusal } from "../refusal.ts";
import { loadSecrets } from "../secrets.ts";
import { editSettings, valueAt } from "./edit.ts";
import { programs } from "./programs.ts";

const usage = `The live configuration of ${Object.keys(programs).join(", ")}:

  bun run config get [program] [--json]                          what applies; --json prints what set takes
  bun run config set <program> <path>=<value>... [--note text]   changes settings; the value "default" is the default
  bun run config set <program> <file.json|-> [--note text]       replaces all settings by those in a file or from standard input
  bun run config history <program>                               the last versions
  bun run config rollback <program> <version> [--note text]      stores an old version as a new one

Redis is the one at REDIS_URL, else the local stack's. Every process has a new version within 10 s.`;

const connectWithinMs = 3_000;
const maxInputBytes = 1024 * 1024;

async function run(args: readonly string[]): Promise<string> {
  const { words, note, json } = readArguments(args);
  const [command, program, ...rest] = words;
  const known = command !== undefined && ["get", "set", "history", "rollback"].includes(command);
  if (!known) throw new Refusal(usage);
  if (program === undefined && command !== "get") throw new Refusal(`Which program?\n\n${usage}`);
  if (program !== undefined && !programs[program]) {
    throw new Refusal(`There is no program "${program}", only ${Object.keys(programs).join(", ")}.`);
  }
  return withStore(async (store) => {
    const names = program === undefined ? Object.keys(programs) : [program];
    if (command === "get") {
      const parts = names.map((name) => (json ? showJson(store, name) : show(store, name)));
      return (await Promise.all(parts)).join("\n\n");
    }
    const [name = ""] = names;
    if (command === "history") return showHistory(store, name);
    return command === "set" ? set(store, name, rest, note) : rollBack(store, name, rest, note);
  });
}

async function show(store: ConfigStore, program: string): Promise<string> {
  const schema = schemaOf(program);
  const { document, unreadable } = await store.current(program);
  const settings = document?.settings ?? {};
  const result = checkSettings(schema, settings);
  const heading = document ? `${program}: ${headOf(document)}` : `${program}: nothing is stored, the defaults apply`;
  if (unreadable) return `${program}: what is stored is no configuration; programs go on by the last one that was good`;
  if ("problems" in result) {
    return `${heading}\n  is not right, and programs go on by the last one that was:\n${list(result.problems)}`;
  }
  const rows = describeSettings(schema).map(({ path, default: usual }) => {
    const value = valueAt(result.config, path);
    return [path, String(value), value === usual ? "" : `(default ${String(usual)})`];
  });
  return `${heading}\n${table(rows)}`;
}

async function showJson(store: ConfigStore, program: string): Promise<string> {
  const { document } = await store.current(program);
  return JSON.stringify(document?.settings ?? {}, null, 2);
}

async function showHistory(store: ConfigStore, program: string): Promise<string> {
  const documents = await store.history(program);
  if (documents.length === 0) return `${program} has no history: the defaults have always applied.`;
  return documents.map((document) => `${headOf(document)}\n    ${JSON.stringify(document.settings)}`).join("\n");
}

async function set(store: ConfigStore, program: string, changes: readonly string[], note: string): Promise<string> {
  const { document, version } = await store.current(program);
  const [first] = changes;
  if (first === undefined) throw new Refusal(`What shall be set?\n\n${usage}`);
  const whole = changes.length === 1 && !first.includes("=");
  const settings = whole ? await readWhole(first) : edited(document?.settings, changes);
  return write(store, program, { from: version, settings, note });
}

async function rollBack(store: ConfigStore, program: string, words: readonly string[], note: string): Promise<string> {
  const wanted = Number(words[0]);
  const documents = await store.history(program);
  const found = documents.find(({ version }) => version === wanted);
  if (!found || words.length > 1) {
    const there = documents.map(({ version }) => version).join(", ");
    throw new Refusal(`${program} has no version "${words.join(" ")}"; there are ${there || "none"}.`);
  }
  const { version } = await store.current(program);
  const said = note || `back to version ${wanted}`;
  return write(store, program, { from: version, settings: found.settings, note: said });
}

/** Checks before anything is written. */
async function write(
  store: ConfigStore,
  program: string,
  change: { from: number; settings: unknown; note: string },
): Promise<string> {
  const result = checkSettings(schemaOf(program), change.settings);
  if ("problems" in result) throw new Refusal(`Nothing was stored:\n${list(result.problems)}`);
  const { written, version } = await store.write(program, change);
  if (written) return `${program} has version ${version} now; every process has it within 10 s.`;
  throw new Refusal(
    `Nothing was stored: somebody else has stored version ${version} in the meantime. Look at it (bun run config get ${program}) and try again.`,
  );
}

function edited(settings: unknown, changes: readonly string[]): unknown {
  try {
    return editSettings(settings, changes);
  } catch (error) {
    throw new Refusal(`Nothing was stored: ${error instanceof Error ? error.message : String(error)}.`);
  }
}

/** @param from a file's path, or `-` for standard input. */
async function readWhole(from: string): Promise<unknown> {
  try {
    const text = from === "-" ? await Bun.stdin.text() : await Bun.file(from).text();
    if (text.length > maxInputBytes) throw new RangeError(`it has more than ${maxInputBytes} characters`);
    const settings: unknown = JSON.parse(text);
    return settings;
  } catch (error) {
    const name = from === "-" ? "standard input" : from;
    throw new Refusal(
      `Nothing was stored: ${name} cannot be read (${error instanceof Error ? error.message : String(error)}).`,
    );
  }
}

function readArguments(args: readonly string[]): { words: string[]; note: string; json: boolean } {
  const words: string[] = [];
  let note = "";
  let json = false;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    if (word === "--json") json = true;
    else if (word === "--note") note = args[++at] ?? "";
    else if (word.startsWith("--")) throw new Refusal(`There is no option ${word}.\n\n${usage}`);
    else words.push(word);
  }
  return { words, note, json };
}

async function withStore<T>(use: (store: ConfigStore) => Promise<T>): Promise<T> {
  const url = await findRedis();
  const log = createLog({ program: "config", level: "error" });
  const connection = createRedisConnection({ url, log, timeoutMs: connectWithinMs });
  try {
    return await use(createConfigStore(connection));
  } catch (error) {
    if (error instanceof RangeError) throw new Refusal(`Nothing was stored: ${error.message}.`);
    if (isRedisError(error) || (error instanceof Error && error.name === "RedisUnavailable")) {
      throw new Refusal(`Redis cannot be used: ${error.message}`);
    }
    throw error;
  } finally {
    connection.close();
  }
}

async function findRedis(): Promise<string> {
  const { external, dataDir, ports } = readDevEnv();
  if (external.redisUrl) return external.redisUrl;
  const secrets = join(dataDir, "secrets.json");
  if (!existsSync(secrets)) {
    throw new Refusal(
      `There is no local stack in ${dataDir}. Start one (npx bun dev), or say where Redis is: REDIS_URL=...`,
    );
  }
  const { redisPassword } = await loadSecrets(secrets);
  return redisUrl({ dir: dataDir, port: ports.redis, password: redisPassword });
}

function schemaOf(program: string): SettingsSchema {
  const schema = programs[program];
  if (!schema) throw new TypeError(`no schema of ${program}`);
  return schema;
}

function headOf({ version, time, note }: ConfigDocument): string {
  const when = new Date(time).toISOString().slice(0, 19).replace("T", " ");
  return `version ${version}, ${when} UTC${note ? `, ${note}` : ""}`;
}

const list = (problems: readonly string[]) => problems.map((problem) => `  ${problem}`).join("\n");

function table(rows: string[][]): string {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows
    .map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd())
    .join("\n");
}

await runCommandLine({
  help: usage,
  async run(args) {
    process.stdout.write(`${await run(args)}\n`);
  },
  explain,
});
