/**
 * How far a group has come in one partition, as it is kept with the group's offset in Kafka. The offset says that everything before
 * it is settled. Its metadata, a text of at most 4 096 characters (the broker's default limit), says the rest:
 *
 *     1|<bitmap>|<run>,<run>,…
 *
 * The bitmap (base64, bit i of byte n is offset + 8n + i) marks what is settled beyond the offset. A run `<from>-<length>.<attempts>`
 * (base 36, from the offset on; `w` behind it: waiting) tells how often records have been taken, so that a member that dies of a
 * record leaves that to its successor. It is written before a record's handler is called.
 */
export interface Progress {
  offset: number;
  settled: ReadonlySet<number>;
  /** Records that were taken, and are not settled. */
  marks: ReadonlyMap<number, Mark>;
  /** The greatest offset of both. */
  upTo: number;
}

export interface Mark {
  /** Deliveries begun so far. */
  attempts: number;
  /** The last one failed, and the next is not due yet. */
  waiting: boolean;
}

/** How far beyond the offset anything is settled or taken. With {@link maxMarks} it keeps the text below its limit. */
export const maxDistance = 4_096;
/** Records of one partition that are taken or waiting at once. */
export const maxMarks = 256;

/** @param state settled and taken records from the offset on, in the order of their offsets. */
export function encodeProgress(offset: number, state: Iterable<{ offset: number; mark: Mark | null }>): string {
  const bits: (number | undefined)[] = [];
  const runs: { from: number; length: number; mark: Mark }[] = [];
  for (const { offset: at, mark } of state) {
    const distance = at - offset;
    if (!mark) {
      bits[distance >> 3] = (bits[distance >> 3] ?? 0) | (1 << (distance & 7));
      continue;
    }
    const run = runs.at(-1);
    const continues =
      run &&
      run.from + run.length === distance &&
      run.mark.attempts === mark.attempts &&
      run.mark.waiting === mark.waiting;
    if (continues) run.length++;
    else runs.push({ from: distance, length: 1, mark });
  }
  if (bits.length === 0 && runs.length === 0) return "";
  const bitmap = Buffer.from(Array.from(bits, (byte) => byte ?? 0)).toString("base64");
  const list = runs.map(({ from, length, mark }) => {
    return `${from.toString(36)}-${length.toString(36)}.${mark.attempts.toString(36)}${mark.waiting ? "w" : ""}`;
  });
  return `1|${bitmap}|${list.join(",")}`;
}

/** A text that is not ours (another consumer has used the group) counts as none. */
export function decodeProgress(offset: number, text: string | null): Progress {
  const settled = new Set<number>();
  const marks = new Map<number, Mark>();
  const [version, bitmap = "", list = ""] = (text ?? "").split("|");
  if (version !== "1") return { offset, settled, marks, upTo: offset - 1 };
  for (const [n, byte] of Buffer.from(bitmap, "base64").entries()) {
    for (let i = 0; i < 8; i++) if (byte & (1 << i)) settled.add(offset + 8 * n + i);
  }
  for (const run of list === "" ? [] : list.split(",")) {
    const [, from, length, attempts, waiting] = /^([0-9a-z]+)-([0-9a-z]+)\.([0-9a-v]+)(w?)$/.exec(run) ?? [];
    if (!from || !length || !attempts) continue;
    const start = offset + Number.parseInt(from, 36);
    const end = start + Math.min(maxDistance, Number.parseInt(length, 36));
    const mark = { attempts: Number.parseInt(attempts, 36), waiting: waiting === "w" };
    for (let at = start; at < end; at++) marks.set(at, mark);
  }
  return { offset, settled, marks, upTo: Math.max(offset - 1, ...settled, ...marks.keys()) };
}
