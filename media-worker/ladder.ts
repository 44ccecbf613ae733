import type { ProbedStream } from "./probe.ts";

/** One rendition: a size, and what it may cost. */
export interface Rung {
  /** Names its files. */
  name: string;
  width: number;
  height: number;
  /** Constant rate factor of x264. */
  crf: number;
  /** Ceiling in bits a second, over any two seconds. */
  maxBitrate: number;
}

const widths = [
  { width: 540, crf: 24, maxBitrate: 1_200_000 },
  { width: 720, crf: 23, maxBitrate: 2_500_000 },
  { width: 1080, crf: 23, maxBitrate: 5_000_000 },
];
/** Phones are at most 2.4 times as tall as wide; H.264 decoders of phones stop not far above. */
const maxHeight = 1920;
/** Less than this no encoder can make anything of. */
const minBitrate = 150_000;
/** What H.264 needs for what these say with one bit. */
const efficiency: Record<string, number> = { hevc: 1.3, vp9: 1.3, av1: 1.5 };
/** The bits of a picture grow more slowly than its pixels. */
const bitsPerPixelsPower = 0.75;

/**
 * The renditions of a video, narrowest first: the widths of the ladder that it has, or its own size when it has none of them.
 *
 * @param sourceBitrate bits a second of the picture as it came, or null when it is not known. No rendition gets much more, so
 *   that what was small does not grow.
 */
export function planLadder(video: ProbedStream, sourceBitrate: number | null): Rung[] {
  const shown = displaySize(video);
  const fitting = widths.filter(({ width }) => width <= Math.round(shown.width));
  const [narrowest] = widths;
  const wanted = fitting.length > 0 ? fitting : narrowest ? [{ ...narrowest, crf: 23, width: shown.width }] : [];
  const rungs = wanted.map(({ width, crf, maxBitrate }) => {
    const scale = Math.min(1, width / shown.width, maxHeight / shown.height);
    const fitted = even(shown.width * scale);
    const height = even(shown.height * scale);
    const share = (fitted * height) / (shown.width * shown.height);
    const affordable = (sourceBitrate ?? Infinity) * (efficiency[video.codec ?? ""] ?? 1) * share ** bitsPerPixelsPower;
    const ceiling = Math.round(Math.min(maxBitrate, Math.max(minBitrate, affordable)));
    return { name: String(fitted), width: fitted, height, crf, maxBitrate: ceiling };
  });
  // A very tall picture may be cut to the same size by its height.
  return rungs.filter((rung, at) => rung.width !== rungs[at - 1]?.width);
}

/** Size on the screen, unrounded: turned upright, with square pixels. */
function displaySize({ width, height, pixelAspect, rotation }: ProbedStream): { width: number; height: number } {
  const sideways = Math.abs((Math.abs(rotation) % 180) - 90) < 1;
  const shown = { width: width * pixelAspect, height };
  return sideways ? { width: shown.height, height: shown.width } : shown;
}

/** As H.264 wants it. */
export function even(length: number): number {
  return Math.max(2, 2 * Math.floor(Math.round(length) / 2));
}
