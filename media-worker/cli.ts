import { EnvError } from "@flick/platform/env.ts";

import { corpusCommand } from "./corpus/command.ts";
import { dlqCommand, jobsCommand, retryCommand } from "./job-commands.ts";

/** One command of `bun run media`. */
export interface Command {
  /** Its arguments, as they are written. */
  usage: string;
  summary: string;
  /** @returns the exit code. @throws {EnvError} or any error, whose message is shown. */
  run(args: string[]): Promise<number>;
}

const commands: Record<string, Command> = {
  jobs: jobsCommand,
  dlq: dlqCommand,
  retry: retryCommand,
  corpus: {
    usage: "[--fast|--list] [text...]",
    summary: "make odd and hostile files, process them, and compare (--help tells more)",
    run: corpusCommand,
  },
};

const [name = "", ...args] = process.argv.slice(2);
const command = commands[name];
if (command) {
  try {
    process.exitCode = await command.run(args);
  } catch (error) {
    process.stderr.write(`${error instanceof EnvError || error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
  }
} else {
  const lines = Object.entries(commands).map(([each, { usage, summary }]) => {
    return `  bun run media ${`${each} ${usage}`.padEnd(36)} ${summary}\n`;
  });
  process.stderr.write(`${name === "" ? "" : `There is no command ${name}.\n`}Usage:\n${lines.join("")}`);
  process.exitCode = name === "" || name === "--help" ? 0 : 2;
}
