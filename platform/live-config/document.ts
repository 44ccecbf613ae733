import * as v from "valibot";

import type { SettingsSchema } from "./settings.ts";

/** One version of a program's configuration, as it is stored: JSON in `config::<program>`, and in its history. */
export interface ConfigDocument {
  /** Counts from 1. */
  version: number;
  /** Milliseconds since 1970. */
  time: number;
  /** What its author said of it. */
  note: string;
  /** Only the settings that are not left at their default. */
  settings: unknown;
}

/** Holds the document that applies. */
export const configKey = (program: string) => `config::${program}`;
/** A list of the documents up to the one that applies, newest first. */
export const historyKey = (program: string) => `config::${program}::history`;

const storedDocument = v.object({
  version: v.pipe(v.number(), v.integer(), v.minValue(1)),
  time: v.number(),
  note: v.string(),
  settings: v.unknown(),
});

/** Null when the text is no document. */
export function readDocument(text: string): ConfigDocument | null {
  try {
    const result = v.safeParse(storedDocument, JSON.parse(text));
    return result.success ? result.output : null;
  } catch {
    return null;
  }
}

/** Settings with every default in its place, or a sentence for each that is not as it must be. */
export function checkSettings<S extends SettingsSchema>(
  schema: S,
  settings: unknown,
): { config: v.InferOutput<S> } | { problems: string[] } {
  // Undefined would stand for the defaults, and what is stored is never meant to.
  const result = v.safeParse(schema, settings ?? null);
  if (result.success) return { config: result.output };
  return { problems: result.issues.map((issue) => `${v.getDotPath(issue) ?? "the settings"} ${issue.message}`) };
}
