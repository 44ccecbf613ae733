import { corpusCommand } from "./corpus/command.ts";

const help = `What operators and developers do with media.

  bun run media corpus    a corpus of odd and hostile files: make it, process it, compare (--help tells more)
`;

const commands: Record<string, (args: string[]) => Promise<number>> = { corpus: corpusCommand };

const [name = "", ...args] = process.argv.slice(2);
const command = commands[name];
if (!command) process.stdout.write(help);
process.exit(command ? await command(args) : name === "--help" ? 0 : 2);
