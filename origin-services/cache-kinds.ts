/** A kind of values that the cache holds, each under an id. */
export interface ValueKind<Value> {
  type: "hash" | "string";
  key: (id: number) => string;
  /** Give or take a fifth, so that what was stored together does not end together. */
  ttlMs: number;
  /** Arguments of HSET or SET behind the key. */
  encode: (value: Value) => string[];
  /** What stands for an id that is unknown. */
  negative: string[];
  /** Undefined when what was stored is not of this form (a program of another version stored it). */
  decode: (stored: string[]) => Value | typeof negative | undefined;
}

/** A kind of lists, newest entries first. */
export interface ListKind<Entry> {
  ttlMs: number;
  /** Entries that are held at most: the newest. At most 3000, for the sake of Lua's stack. */
  most: number;
  /** The score is a whole number above 0. No two entries of a list have the same score, nor the same member. */
  encode: (entry: Entry) => { score: number; member: string };
  decode: (member: string, score: number) => Entry;
}

/** Entries with scores between two bounds, exclusive, highest first. */
export interface ListRange {
  below?: number;
  above?: number;
  limit: number;
}

/** Known to be unknown. */
export const negative = Symbol("negative");

const minute = 60_000;
const negativeField = "none";

/** Hashes, for things that are described by several fields. `fields` tells how each is read back from text. */
export function hashKind<Value extends object>(options: {
  key: (id: number) => string;
  ttlMs?: number;
  fields: { [Field in keyof Value]: (text: string) => Value[Field] };
}): ValueKind<Value> {
  const names = Object.keys(options.fields) as (keyof Value & string)[];
  return {
    type: "hash",
    key: options.key,
    ttlMs: options.ttlMs ?? 10 * minute,
    encode: (value) => names.flatMap((name) => [name, String(value[name])]),
    negative: [negativeField, "1"],
    decode(stored) {
      if (stored[0] === negativeField) return negative;
      const texts = new Map<string, string>();
      for (let at = 0; at < stored.length; at += 2) texts.set(stored[at] ?? "", stored[at + 1] ?? "");
      const value: Partial<Value> = {};
      for (const name of names) {
        const text = texts.get(name);
        if (text === undefined) return undefined;
        value[name] = options.fields[name](text);
      }
      return value as Value;
    },
  };
}

/** Flags: `1` or `0`. */
export function flagKind(key: (id: number) => string): ValueKind<boolean> {
  return {
    type: "string",
    key,
    ttlMs: 5 * minute,
    encode: (value) => [value ? "1" : "0"],
    negative: ["0"],
    decode: ([stored]) => stored === "1",
  };
}

/** Lists whose members are texts of their own; by default the 200 newest. */
export function listKind<Entry>(
  options: Pick<ListKind<Entry>, "encode" | "decode"> & { most?: number },
): ListKind<Entry> {
  return { ttlMs: 5 * minute, most: options.most ?? 200, encode: options.encode, decode: options.decode };
}
