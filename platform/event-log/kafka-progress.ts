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

/** How far beyond the offset anything is settled or taken. With {@link maxRuns} it keeps the text below its limit. */
export const maxDistance = 4_096;
/** Records that lie side by side and have been tried equally often are one run. */
export const maxRuns = 256;

/** @param state settled and taken records from the offset on, in the order of their offsets. */
export function encodeProgress(offset: number, state: Iterable<{ offset: number; mark: Mark | null }>): string {
  const bits: (number | undefined)[] = [];
  const runs: { from: number; last: number; mark: Mark }[] = [];
  for (const { offset: at, mark } of state) {
    if (!mark) {
      const distance = at - offset;
      bits[distance >> 3] = (bits[distance >> 3] ?? 0) | (1 << (distance & 7));
      continue;
    }
    const run = runs.at(-1);
    if (run && continuesRun({ offset: run.last, mark: run.mark }, at, mark)) run.last = at;
    else runs.push({ from: at, last: at, mark });
  }
  if (bits.length === 0 && runs.length === 0) return "";
  const bitmap = Buffer.from(Array.from(bits, (byte) => byte ?? 0)).toString("base64");
  const list = runs.map(({ from, last, mark }) => {
    const place = `${(from - offset).toString(36)}-${(last - from + 1).toString(36)}`;
    return `${place}.${mark.attempts.toString(36)}${mark.waiting ? "w" : ""}`;
  });
  return `1|${bitmap}|${list.join(",")}`;
}

/** Is a record, whose predecessor is the last of a run, one of the same run? */
export function continuesRun(last: { offset: number; mark: Mark }, offset: number, mark: Mark): boolean {
  return last.offset + 1 === offset && last.mark.attempts === mark.attempts && last.mark.waiting === mark.waiting;
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
