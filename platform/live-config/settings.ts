import * as v from "valibot";

/**
 * What the settings of a live configuration are made of. Every one of them has a default, bounds and a sentence that says what it is for, from
 * which `docs/configuration.md` is made.
 */

/** A whole number between two bounds. */
export function whole(options: { default: number; min: number; max: number; what: string }) {
  const { min, max, what } = options;
  const message = `must be a whole number from ${min} to ${max}`;
  const inBounds = (value: number) => Number.isInteger(value) && value >= min && value <= max;
  return v.optional(
    v.pipe(v.number(message), v.check(inBounds, message), v.metadata({ bounds: `${min} to ${max}`, what })),
    options.default,
  );
}

/** On or off. */
export function flag(options: { default: boolean; what: string }) {
  const { what } = options;
  return v.optional(
    v.pipe(v.boolean("must be true or false"), v.metadata({ bounds: "true, false", what })),
    options.default,
  );
}

/** One of a few words. */
export function choice<const Word extends string>(options: {
  default: NoInfer<Word>;
  of: readonly Word[];
  what: string;
}) {
  const bounds = options.of.join(", ");
  return v.optional(
    v.pipe(v.picklist(options.of, `must be one of ${bounds}`), v.metadata({ bounds, what: options.what })),
    options.default,
  );
}

/** Settings that belong together, under one name. What it does not know is refused. */
export function section<const Entries extends v.ObjectEntries>(entries: Entries) {
  const message = "must be an object of settings";
  // To valibot an array is an object, too.
  const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
  const schema = v.pipe(
    v.custom<v.InferInput<v.StrictObjectSchema<Entries, undefined>>>(isObject, message),
    v.strictObject(entries, ({ expected }) => (expected === "never" ? "is no setting" : message)),
  );
  return v.optional(schema, {} as v.InferInput<typeof schema>);
}

/** The settings of one program: a section at whose top there is nothing else. */
export type SettingsSchema = ReturnType<typeof section>;

/** A setting as a person reads of it. */
export interface SettingDescription {
  /** Names joined by dots, as `config set` takes them. */
  path: string;
  default: unknown;
  /** Which values it may have, in words. */
  bounds: string;
  what: string;
}

/** All settings of a schema, in its order. */
export function describeSettings(schema: v.GenericSchema, path: readonly string[] = []): SettingDescription[] {
  const { wrapped } = schema as Partial<Parts>;
  const entries = wrapped?.pipe?.at(-1)?.entries;
  if (entries) return Object.entries(entries).flatMap(([name, each]) => describeSettings(each, [...path, name]));
  const { bounds, what } = wrapped ? (v.getMetadata(wrapped) as Partial<SettingDescription>) : {};
  if (bounds === undefined || what === undefined) throw new TypeError(`${path.join(".")} is not made by this file`);
  return [{ path: path.join("."), default: v.getDefault(schema), bounds, what }];
}

/** What the schemas above are made of. */
interface Parts {
  wrapped: v.GenericSchema & { pipe?: { entries?: Record<string, v.GenericSchema> }[] };
}
