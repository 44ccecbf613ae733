import { randomBytes } from "node:crypto";

const idDigits = 16;

/**
 * How long after its admission a file may become part of an upload: more than the slowest upload takes that a gateway has patience for. Only later
 * is one that has no row abandoned.
 */
export const ticketMs = 24 * 3_600_000;

/** Where uploads lie until a media worker has made something of them: of videos, and of pictures for profiles. */
export type RawFolder = "raw" | "raw-images";

/**
 * Object key of an upload: `<folder>/<id>-<random>`. The id is padded so that keys sort by time; the random part, 128 bits, keeps
 * an upload (which may tell where it was made) from being found by an id that is public.
 */
export function makeRawKey(folder: RawFolder, id: number): string {
  return `${rawKeyPrefix(folder, id)}${randomBytes(16).toString("hex")}`;
}

/** What sorts before every key of this id and after those of all earlier ones. */
export function rawKeyPrefix(folder: RawFolder, id: number): string {
  return `${folder}/${String(id).padStart(idDigits, "0")}-`;
}

/** The id in a key, or null when the key has another form. */
export function rawKeyId(key: string): number | null {
  const digits = /^raw(?:-images)?\/(\d{16})-[0-9a-f]{32}$/.exec(key)?.[1];
  return digits ? Number(digits) : null;
}
