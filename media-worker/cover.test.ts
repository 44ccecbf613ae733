import { describe, expect, test } from "bun:test";

import { chooseMoment, lookTimes, rateMoments } from "./cover.ts";

const looks = { file: "looks.gray", width: 64, height: 64 };
const paint = (value: (x: number, y: number) => number) =>
  Uint8Array.from({ length: 64 * 64 }, (_, at) => Math.min(255, Math.max(0, value(at % 64, Math.floor(at / 64)))));

/** Fine detail, as of a face or a street. */
const scene = (shift = 0) =>
  paint((x, y) => 128 + 60 * Math.sin((x + shift) / 9) * Math.cos(y / 7) + (((x + shift) * 7 + y * 13) % 23) - 11);
const blurred = paint((x, y) => 128 + 60 * Math.sin(x / 30) * Math.cos(y / 30));
const black = paint(() => 16);
const nearlyBlack = paint((x, y) => 17 + ((x * y) % 3));
const white = paint(() => 235);
const plain = paint(() => 120);
const other = paint((x, y) => 40 + ((x * 5 + y * 3) % 140));
const mix = (one: Uint8Array, two: Uint8Array, share: number) =>
  one.map((value, at) => Math.round(value * (1 - share) + (two[at] ?? 0) * share));

/** Moments of three pictures each, a second apart. */
function choose(...moments: Uint8Array[][]): number {
  const pixels = Buffer.concat(moments.flat());
  const times = moments.flatMap((group, second) => group.map((_, at) => second * 1000 + at * 33));
  return Math.floor(chooseMoment(pixels, times, looks) / 1000);
}
const still = (picture: Uint8Array) => [picture, picture, picture];

describe("the cover", () => {
  test("is not black", () => {
    expect(choose(still(black), still(black), still(scene()), still(black))).toBe(2);
    expect(choose(still(nearlyBlack), still(scene()), still(nearlyBlack))).toBe(1);
  });

  test("is not blown out", () => {
    expect(choose(still(white), still(white), still(scene()), still(white))).toBe(2);
  });

  test("is no plain surface", () => {
    expect(choose(still(plain), still(plain), still(scene()), still(plain))).toBe(2);
  });

  test("is not blurred", () => {
    expect(choose(still(blurred), still(blurred), still(scene()), still(blurred))).toBe(2);
  });

  test("is not in the middle of a cut", () => {
    const cut = [scene(), scene(), other];
    expect(choose(cut, cut, still(scene()), cut)).toBe(2);
  });

  test("is not in the middle of a blend", () => {
    const blend = [mix(scene(), other, 0.2), mix(scene(), other, 0.5), mix(scene(), other, 0.8)];
    expect(choose(blend, blend, still(scene()), blend)).toBe(2);
  });

  test("may show something that moves", () => {
    expect(choose(still(black), [scene(0), scene(1), scene(2)], still(blurred), still(black))).toBe(1);
  });

  test("is rather not the very first picture, but it may be", () => {
    expect(choose(still(scene()), still(scene()), still(scene()))).toBe(1);
    expect(choose(still(scene()), still(blurred), still(black))).toBe(0);
  });

  test("is the least bad one where none is good", () => {
    expect(choose(still(black), still(black), still(plain), still(black))).toBe(2);
  });

  test("is the beginning where there is nothing to choose from", () => {
    expect(chooseMoment(new Uint8Array(), [], looks)).toBe(0);
  });
});

test("marks lie between 0 and 1", () => {
  for (const { score } of rateMoments(Buffer.concat([...still(scene()), black]), [0, 33, 66, 1000], looks)) {
    expect(score).toBeWithin(0, 1.000001);
  }
});

test("pictures that are not whole are left out", () => {
  expect(rateMoments(scene().subarray(0, 4000), [0], looks)).toEqual([]);
});

test("times are read from what FFmpeg printed", () => {
  const stdout = "frame:0    pts:0       pts_time:0\nlook=1\nframe:1    pts:512     pts_time:0.0333333\nlook=1\n";
  expect(lookTimes(stdout)).toEqual([0, 33]);
});
