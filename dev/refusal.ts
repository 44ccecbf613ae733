import { EnvError } from "@flick/platform/env.ts";

/** Something the person at the keyboard can mend: shown as its message alone, without a stack, and ends the program with 1. */
export class Refusal extends Error {
  override name = "Refusal";
}

/** What to tell a person about an error: with its stack only when it is a mistake of ours. */
export function explain(error: unknown): string {
  if (error instanceof Refusal || error instanceof EnvError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
