import { EnvError } from "./env.ts";

/** A program that a person calls by hand and reads the output of. */
export interface CommandLine {
  /** What `--help` prints: what it does, and how it is called. */
  help: string;
  /** @returns the exit code, 0 when it is left out. */
  run(args: string[]): Promise<number | void>;
  /** What to tell of what it throws, but for a {@link UsageError} and an {@link EnvError}; see {@link describe} when this is left out. */
  explain?: (error: unknown) => string;
  /** The exit code then, 1 when it is left out. */
  failure?: number;
}

/** The command was not called as it must be. Its message is all that is told. */
export class UsageError extends Error {
  override name = "UsageError";
}

/**
 * Runs a command line to its end. Errors are told in a few words on standard error; when nobody reads the output any more, as with
 * `| head`, it ends at once and without a word: its reader has what it wanted, and `bun run` complains of every other code than 0.
 */
export async function runCommandLine({ help, run, explain = describe, failure = 1 }: CommandLine): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", endUnread);
  const args = process.argv.slice(2);
  try {
    if (args[0] === "--help" || args[0] === "-h") process.stdout.write(`${help.trimEnd()}\n`);
    else process.exitCode = (await run(args)) ?? 0;
  } catch (error) {
    const isTheirs = error instanceof UsageError || error instanceof EnvError;
    process.stderr.write(`${isTheirs ? error.message : explain(error)}\n`);
    process.exitCode = failure;
  }
}

/** For what is called without arguments. @throws {UsageError} when there are some: they were meant to do something. */
export function refuseArguments([first]: readonly string[]): void {
  if (first !== undefined) throw new UsageError(`There is no argument ${first}: only --help is known.`);
}

/** An error's message, and in brackets what was behind it. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${describe(error.cause)})`;
}

function endUnread(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}
