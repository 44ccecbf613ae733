import type { StoredPart } from "@flick/platform/object-store/object-store.ts";

const mebibyte = 2 ** 20;
/** Small enough that little is lost with a connection, large enough that a file has few of them. */
const usualPartBytes = 8 * mebibyte;
const maxParts = 256;

/** Bytes of every part but the last: 8 MiB, more where a file would have more than 256 of them. */
export function choosePartBytes(size: number): number {
  return Math.max(usualPartBytes, Math.ceil(size / maxParts / mebibyte) * mebibyte);
}

interface PlannedUpload {
  size: number;
  partBytes: number;
}

/**
 * Which parts of an upload are there, and which are not. A part of another size than it should have is not there: nobody had a
 * URL to put it under.
 */
export function compareParts({ size, partBytes }: PlannedUpload, stored: readonly StoredPart[]) {
  const sizes = new Map(stored.map((part) => [part.number, part.size]));
  const planned = Array.from({ length: Math.ceil(size / partBytes) }, (_, index) => {
    return { number: index + 1, size: Math.min(partBytes, size - index * partBytes) };
  });
  const isThere = (part: { number: number; size: number }) => sizes.get(part.number) === part.size;
  return { there: planned.filter(isThere), missing: planned.filter((part) => !isThere(part)) };
}
