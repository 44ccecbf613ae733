import * as v from "valibot";

/** A whole number in an answer: an id, a count or a time, none of which is ever negative or beyond 2^53. */
export function wholeField(description: string, example: number) {
  return v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.metadata({ description, examples: [example] }));
}

export function textField(description: string, example: string) {
  return v.pipe(v.string(), v.metadata({ description, examples: [example] }));
}

export function flagField(description: string, example: boolean) {
  return v.pipe(v.boolean(), v.metadata({ description, examples: [example] }));
}

/** One of a few values, the first of which stands for nothing. */
export function choiceField<const Options extends readonly (string | number)[]>(
  options: Options,
  description: string,
  example: Options[number],
) {
  return v.pipe(v.picklist(options), v.metadata({ description, examples: [example] }));
}

/** Where the next page of a list begins. */
export const pageFields = {
  next_cursor: wholeField("`cursor` of the next page.", 7_312_345_678_901_234),
  has_more: flagField("Is there a next page?", true),
};

/**
 * What a schema describes, with nothing in it: 0, `""`, false, `[]`, the first of several choices, and objects of these. It is what
 * clients get in place of an answer when a call fails.
 */
export function emptyOf<Schema extends v.GenericSchema>(schema: Schema): v.InferOutput<Schema> {
  return emptyValue(schema);
}

type Described =
  | v.ObjectSchema<v.ObjectEntries, undefined>
  | v.PicklistSchema<readonly (string | number)[], undefined>
  | v.ArraySchema<v.GenericSchema, undefined>
  | v.NumberSchema<undefined>
  | v.StringSchema<undefined>
  | v.BooleanSchema<undefined>;

function emptyValue(schema: v.GenericSchema): unknown {
  const described = schema as Described;
  switch (described.type) {
    case "object":
      return Object.fromEntries(
        Object.entries(described.entries).map(([name, entry]) => [name, emptyValue(entry as v.GenericSchema)]),
      );
    case "picklist":
      return described.options[0];
    case "array":
      return [];
    case "number":
      return 0;
    case "string":
      return "";
    case "boolean":
      return false;
    default:
      throw new Error(`nothing is known to be empty among "${schema.type}"`);
  }
}
