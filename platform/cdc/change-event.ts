import * as v from "valibot";

/**
 * Row changes as Debezium writes them to JSON: `{before, after, op, source: {db, table, …}, ts_ms}`. Our tailer and our Flink CDC job
 * (`ops/flink-cdc/`) write the same. A YAML pipeline of Flink CDC's with `debezium-json` can be read, too: it leaves `ts_ms` and most of
 * `source` away.
 *
 * Columns keep the database's names. An integer that a JSON number cannot carry through JavaScript (beyond ±(2^53 − 1)) is
 * written as a string, and by such a pipeline as a number; {@link decodeChange} gives a string for both. DECIMAL, dates and times (UTC) are
 * strings, and bytes are in base64.
 */
export type Row = Record<string, unknown>;

/** One change of one row. */
export type Change = ChangeOrigin &
  (
    | { op: "c"; before: null; after: Row }
    | { op: "u"; before: Row | null; after: Row }
    | { op: "d"; before: Row; after: null }
  );

interface ChangeOrigin {
  table: string;
  /** When it was made, milliseconds since 1970; null when the source does not tell. */
  tsMs: number | null;
  /** Its place in the change log, `file:offset:row`, for people; null when the source does not tell. */
  position: string | null;
}

/** What the tailer writes. */
export interface DebeziumChange {
  before: Row | null;
  after: Row | null;
  op: "c" | "u" | "d";
  source: {
    connector: "mysql";
    db: string;
    table: string;
    gtid?: string;
    /** Where the transaction lies in the binlog, and the number of the change in it. */
    file: string;
    pos: number;
    row: number;
    ts_ms: number;
  };
  ts_ms: number;
}

/** @throws {ChangeError} when the value is not such a change; it says where, and never quotes the value. */
export function decodeChange(value: string): Change {
  const parsed = v.safeParse(envelope, parseExactly(value));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw new ChangeError(`not a change in Debezium JSON: ${v.getDotPath(issue) ?? "the value"} is not as expected`);
  }
  const { op, before, after, source, ts_ms } = parsed.output;
  const { table, file, pos, row } = source;
  const common = {
    table,
    tsMs: source.ts_ms ?? ts_ms ?? null,
    position: file === undefined ? null : `${file}:${pos ?? 0}:${row ?? 0}`,
  };
  if (op === "d") {
    if (!before) throw new ChangeError("not a change in Debezium JSON: op is d, and before is missing");
    return { ...common, op, before, after: null };
  }
  if (!after) throw new ChangeError(`not a change in Debezium JSON: op is ${op}, and after is missing`);
  if (op === "u") return { ...common, op, before: before ?? null, after };
  return { ...common, op: "c", before: null, after };
}

export class ChangeError extends Error {
  override name = "ChangeError";
}

const rowSchema = v.nullish(
  v.custom<Row>((input) => typeof input === "object" && input !== null && !Array.isArray(input)),
);

const envelope = v.object({
  /** r: read by a snapshot. */
  op: v.picklist(["c", "u", "d", "r"]),
  before: rowSchema,
  after: rowSchema,
  source: v.object({
    table: v.string(),
    file: v.optional(v.string()),
    pos: v.optional(v.number()),
    row: v.optional(v.number()),
    ts_ms: v.nullish(v.number()),
  }),
  ts_ms: v.nullish(v.number()),
});

/** JSON.parse, but integers that a number would round become strings. */
function parseExactly(value: string): unknown {
  try {
    // A reviver is slow, and 16 digits in a row are rare.
    if (!/\d{16}/.test(value)) return JSON.parse(value);
    return JSON.parse(value, (_name, parsed: unknown, context?: { source?: string }) => {
      const rounded = typeof parsed === "number" && !Number.isSafeInteger(parsed);
      return rounded && context?.source && /^-?\d+$/.test(context.source) ? context.source : parsed;
    });
  } catch {
    throw new ChangeError("not a change in Debezium JSON: the value is not JSON");
  }
}
