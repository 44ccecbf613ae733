/**
 * Redis keys that the origin writes and the edge reads: random text that changes when pages of the feed have become wrong. A page is kept
 * with the texts that stood before it was read from the origin, and is worth nothing once they differ.
 */
export const feedGenerations = {
  /** Of the first page: a video has become ready. */
  head: "edge::feed::generation::head",
  /** Of every page: a video has left the feed. */
  all: "edge::feed::generation::all",
} as const;

/** Longer than any page is kept: while a page is there, its generation cannot have been forgotten and come back. */
export const feedGenerationTtlMs = 2 * 86_400_000;
