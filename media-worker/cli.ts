import { runCommandLine } from "@flick/platform/command.ts";

import { corpusCommand } from "./corpus/command.ts";
import { dlqCommand, jobsCommand, retryCommand } from "./job-commands.ts";

/** One command of `bun run media`. */
export interface Command {
  /** Its arguments, as they are written. */
  usage: string;
  summary: string;
  /** @returns the exit code. @throws any error, whose message is shown. */
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

const lines = Object.entries(commands).map(([name, { usage, summary }]) => {
  return `  bun run media ${`${name} ${usage}`.padEnd(36)} ${summary}`;
});
const help = `Usage:\n${lines.join("\n")}`;

await runCommandLine({
  help,
  run([name = "", ...args]) {
    const command = commands[name];
    if (!command) throw new Error(name === "" ? help : `There is no command ${name}.\n${help}`);
    return command.run(args);
  },
  failure: 2,
});
