import * as v from "valibot";

import { runCommandLine, UsageError } from "../command.ts";
import { readEnv, url } from "../env.ts";
import { createLog } from "../log.ts";

import type { EventLog } from "./event-log.ts";
import { kafkaEnv, openEventLog } from "./open.ts";
import { topics } from "./topics.ts";

export const usage = `The event log, on Kafka with KAFKA_BROKERS, else in Redis Streams at REDIS_URL:

  bun run events topics                    creates the topics that are missing (Kafka)
  bun run events lag [group]               records that groups have not acknowledged yet
  bun run events dlq [topic] [--limit n]   dead letters, oldest first
  bun run events replay <topic> [--limit n] publishes dead letters to their topic again, and removes them
`;

const mostLetters = 10_000;
const shownCharacters = 200;

/**
 * Runs one command and gives what it prints.
 *
 * @throws {UsageError} when there is no such command; any error of the event log's.
 */
export async function runEvents(args: readonly string[], env: Record<string, string | undefined>): Promise<string> {
  const [command = "", ...rest] = args;
  const run = commands[command];
  if (!run) throw new UsageError(usage);
  const settings = readEnv({ REDIS_URL: v.optional(url("redis:", "rediss:")), ...kafkaEnv }, env);
  const log = createLog({ program: "events", level: "warn", write: (line) => void process.stderr.write(line) });
  const eventLog = openEventLog(settings, log);
  try {
    return await run(eventLog, rest);
  } finally {
    await eventLog.close();
  }
}

const commands: Record<string, (eventLog: EventLog, args: readonly string[]) => Promise<string>> = {
  async topics(eventLog) {
    const created = await eventLog.createTopics(topics);
    await eventLog.checkTopics(topics.map(({ name }) => name));
    return [...created.map((name) => `created ${name}`), `all ${topics.length} topics are there`].join("\n");
  },

  async lag(eventLog, [only]) {
    const rows: string[][] = [];
    for (const { name } of topics) {
      for (const group of await eventLog.groups(name)) {
        if (only === undefined || group === only) rows.push([group, name, String(await eventLog.lag(name, group))]);
      }
    }
    if (rows.length === 0)
      return only === undefined ? "no group has read anything yet" : `no group ${only} has read anything yet`;
    return table([["group", "topic", "lag"], ...rows.toSorted((a, b) => (a.join(" ") < b.join(" ") ? -1 : 1))]);
  },

  async dlq(eventLog, args) {
    const { words, limit } = readArguments(args, 100);
    words.forEach(requireDeadLetters);
    const names = words.length > 0 ? words : topics.map(({ name }) => name).filter((name) => hasDeadLetters(name));
    const lines: string[] = [];
    for (const name of names) {
      for (const letter of await eventLog.deadLetters(name, limit)) {
        const { id, key, group, origin, attempts, reason, failedAt, value } = letter;
        const head = `${name} ${id}  key ${key}, from ${origin}, group ${group}, ${attempts} attempts, ${new Date(failedAt).toISOString()}`;
        lines.push(
          `${head}\n  ${reason}\n  ${value.slice(0, shownCharacters)}${value.length > shownCharacters ? " …" : ""}`,
        );
      }
    }
    return lines.length === 0 ? "there are no dead letters" : lines.join("\n");
  },

  async replay(eventLog, args) {
    const { words, limit } = readArguments(args, mostLetters);
    const [topic] = words;
    if (topic === undefined) throw new UsageError(usage);
    requireDeadLetters(topic);
    return `${await eventLog.replay(topic, limit)} dead letters of ${topic} were published again`;
  },
};

function hasDeadLetters(name: string): boolean {
  return topics.some((topic) => topic.name === `${name}.dlq`);
}

/** @throws {UsageError} A name that is not quite right must not look like good news. */
function requireDeadLetters(name: string): void {
  if (!hasDeadLetters(name)) throw new UsageError(`There is no topic ${name} whose records can become dead letters.`);
}

function readArguments(args: readonly string[], usual: number): { words: string[]; limit: number } {
  const at = args.indexOf("--limit");
  const words = args.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  const limit = at < 0 ? usual : Number(args[at + 1]);
  if (!Number.isInteger(limit) || limit < 1 || limit > mostLetters || words.some((word) => word.startsWith("-"))) {
    throw new UsageError(`${usage}\n--limit must be a whole number from 1 to ${mostLetters}.\n`);
  }
  return { words, limit };
}

function table(rows: readonly string[][]): string {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

if (import.meta.main) {
  await runCommandLine({
    help: usage,
    async run(args) {
      process.stdout.write(`${await runEvents(args, process.env)}\n`);
    },
  });
}
