import { looksPerMoment, type Looks } from "./plan.ts";

/** How good a still a moment of a video makes; all from 0 (bad) to 1 (good). */
export interface Still {
  /** Milliseconds from the beginning. */
  timeMs: number;
  score: number;
}

/** At least this share of the score is left to what is bad in one way only, so that the best of bad pictures is found too. */
const least = 0.02;
/** Mean brightness that is neither dark nor blown out. */
const bright = { none: 14, full: 70, stillFull: 180, over: 245 };
/** Standard deviation of the brightness: below the first there is a plain surface. */
const contrast = { none: 4, full: 45 };
/** Variance of the Laplacian, as a power of ten: below the first all is blurred. */
const sharpness = { none: 0.6, full: 2.9 };
/** Mean difference to the next pictures, as a share of the contrast: a cut, a blend or a fast pan. */
const change = { none: 0.18, full: 0.9 };
/** The very first and last pictures are often an accident; a good one among them still wins over a bad one elsewhere. */
const edgeShare = 0.03;
const edgeScore = 0.8;

/**
 * Chooses the moment of the cover: neither dark nor blown out, with contrast, sharp, and not in the middle of a change.
 *
 * @param pixels the looks of a video, one after the other, a byte a pixel.
 * @param times milliseconds of each look.
 * @returns 0 when there is nothing to choose from.
 */
export function chooseMoment(pixels: Uint8Array, times: readonly number[], looks: Looks): number {
  const stills = rateMoments(pixels, times, looks);
  return (
    stills.reduce<Still | null>((best, still) => (best && best.score >= still.score ? best : still), null)?.timeMs ?? 0
  );
}

export function rateMoments(pixels: Uint8Array, times: readonly number[], { width, height }: Looks): Still[] {
  const size = width * height;
  const count = Math.min(times.length, Math.floor(pixels.length / size));
  const look = (index: number) => pixels.subarray(index * size, (index + 1) * size);
  const last = times[count - 1] ?? 0;
  const stills: Still[] = [];
  for (let first = 0; first < count; first += looksPerMoment) {
    const group = Array.from({ length: Math.min(looksPerMoment, count - first) }, (_, at) => look(first + at));
    // The one in the middle has a neighbour on both sides.
    const middle = Math.min(1, group.length - 1);
    const timeMs = times[first + middle] ?? 0;
    const isEdge = last > 0 && (timeMs < last * edgeShare || timeMs > last * (1 - edgeShare));
    stills.push({ timeMs, score: rate(group, middle, width, height) * (isEdge ? edgeScore : 1) });
  }
  return stills;
}

function rate(group: Uint8Array[], at: number, width: number, height: number): number {
  const picture = group[at] ?? new Uint8Array();
  const { mean, deviation, clipped } = spread(picture);
  const changes = group.filter((_, other) => other !== at).map((other) => difference(picture, other));
  const changed = Math.max(0, ...changes) / Math.max(deviation, 8);
  const lit = Math.min(between(mean, bright.none, bright.full), 1 - between(mean, bright.stillFull, bright.over));
  const marks = [
    lit,
    between(deviation, contrast.none, contrast.full),
    between(Math.log10(1 + laplacianVariance(picture, width, height)), sharpness.none, sharpness.full),
    1 - between(changed, change.none, change.full),
    1 - between(clipped, 0.4, 0.95),
  ];
  return marks.reduce((score, mark) => score * Math.max(least, mark), 1);
}

/** 0 up to `low`, 1 from `high` on, and evenly in between. */
function between(value: number, low: number, high: number): number {
  return Math.min(1, Math.max(0, (value - low) / (high - low)));
}

/** Mean and standard deviation of the brightness, and the share of pixels at its ends. */
function spread(picture: Uint8Array): { mean: number; deviation: number; clipped: number } {
  const histogram = new Float64Array(256);
  for (const value of picture) histogram[value] = (histogram[value] ?? 0) + 1;
  let sum = 0;
  let squares = 0;
  let ends = 0;
  histogram.forEach((amount, value) => {
    sum += amount * value;
    squares += amount * value * value;
    if (value <= 18 || value >= 234) ends += amount;
  });
  const count = Math.max(1, picture.length);
  const mean = sum / count;
  return { mean, deviation: Math.sqrt(Math.max(0, squares / count - mean * mean)), clipped: ends / count };
}

function difference(one: Uint8Array, other: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < one.length; at++) sum += Math.abs((one[at] ?? 0) - (other[at] ?? 0));
  return sum / Math.max(1, one.length);
}

/** Variance of the 4-neighbour Laplacian, a usual measure of focus (Pech-Pacheco et al., 2000). */
function laplacianVariance(picture: Uint8Array, width: number, height: number): number {
  let sum = 0;
  let squares = 0;
  let count = 0;
  const at = (index: number) => picture[index] ?? 0;
  for (let y = 1; y < height - 1; y++) {
    for (let x = 1; x < width - 1; x++) {
      const here = y * width + x;
      const value = at(here - 1) + at(here + 1) + at(here - width) + at(here + width) - 4 * at(here);
      sum += value;
      squares += value * value;
      count++;
    }
  }
  if (count === 0) return 0;
  const mean = sum / count;
  return squares / count - mean * mean;
}

/** Milliseconds of the looks, from what the run printed, in their order. */
export function lookTimes(stdout: string): number[] {
  return [...stdout.matchAll(/^frame:\d+\s.*pts_time:(-?[\d.]+)/gm)].map(([, time]) => Math.round(Number(time) * 1000));
}

/** Whether the size or the format of the picture changes on the way: the filters begin anew then, and count from zero again. */
export function pictureChanges(stdout: string): boolean {
  return [...stdout.matchAll(/^frame:0\s/gm)].length > 1;
}
