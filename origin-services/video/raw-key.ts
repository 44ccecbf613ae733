import { randomBytes } from "node:crypto";

const idDigits = 16;

/**
 * Object key of an upload: `raw/<id>-<random>`. The id is padded so that keys sort by time; the random part, 128 bits, keeps an
 * upload (which may tell where it was filmed) from being found by the public id of its video.
 */
export function makeRawKey(videoId: number): string {
  return `${rawKeyPrefix(videoId)}${randomBytes(16).toString("hex")}`;
}

/** What sorts before every key of this id and after those of all earlier ones. */
export function rawKeyPrefix(videoId: number): string {
  return `raw/${String(videoId).padStart(idDigits, "0")}-`;
}

/** The id in a key, or null when the key has another form. */
export function rawKeyId(key: string): number | null {
  const digits = /^raw\/(\d{16})-[0-9a-f]{32}$/.exec(key)?.[1];
  return digits ? Number(digits) : null;
}
