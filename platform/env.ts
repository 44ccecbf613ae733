import { readFileSync } from "node:fs";

import * as v from "valibot";

/**
 * Reads a program's settings from its environment. `NAME_FILE` may hold the path of a file with the value of `NAME`, as container
 * secrets are mounted. Empty means absent.
 *
 * @throws {EnvError} names every bad variable and what was expected of it, never its value.
 */
export function readEnv<const S extends v.ObjectEntries>(
  entries: S,
  env: Record<string, string | undefined> = process.env,
): v.InferOutput<v.ObjectSchema<S, undefined>> {
  const input: Record<string, string> = {};
  for (const name of Object.keys(entries)) {
    const value = env[name] || fromFile(name, env[`${name}_FILE`]);
    if (value) input[name] = value;
  }
  const result = v.safeParse(v.object(entries), input);
  if (result.success) return result.output;
  throw new EnvError(result.issues.map((issue) => `${v.getDotPath(issue) ?? "environment"}: ${complaint(issue)}`));
}

export class EnvError extends Error {
  override name = "EnvError";
  constructor(problems: string[]) {
    super(`Bad environment:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
  }
}

/** A whole number between two bounds, written in decimal. */
export function whole(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return v.pipe(
    v.string(),
    v.regex(/^\d+$/, message),
    v.transform(Number),
    v.minValue(min, message),
    v.maxValue(max, message),
  );
}

/** An absolute URL with one of the protocols (given with their colon), without a slash at its end. */
export function url(...protocols: string[]) {
  const message = `must be a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(" or ")}`;
  return v.pipe(
    v.string(),
    v.check((text) => URL.canParse(text) && protocols.includes(new URL(text).protocol), message),
    v.transform((text) => text.replace(/\/+$/, "")),
  );
}

/** A secret of at least so many characters. */
export function secret(minLength: number) {
  return v.pipe(v.string(), v.minLength(minLength, `must have at least ${minLength} characters`));
}

function fromFile(name: string, path: string | undefined): string | undefined {
  if (!path) return undefined;
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new EnvError([`${name}_FILE: cannot be read (${error instanceof Error ? error.message : String(error)})`]);
  }
}

/** valibot's own messages quote the value that was received, which may be a secret. */
function complaint(issue: v.BaseIssue<unknown>): string {
  if (issue.input === undefined) return "is missing";
  return issue.message.replace(/ but received .*$/s, "");
}
