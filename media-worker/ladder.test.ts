import { describe, expect, test } from "bun:test";

import { planLadder } from "./ladder.ts";
import type { ProbedStream } from "./probe.ts";
import { pictureOf } from "./testing-probe.ts";

const sizes = (stream: Partial<ProbedStream>) =>
  planLadder(pictureOf(stream), null).map(({ width, height }) => `${width}x${height}`);

describe("the renditions", () => {
  const cases: [what: string, stream: Partial<ProbedStream>, sizes: string[]][] = [
    ["of a portrait video have the three widths", { width: 1080, height: 1920 }, ["540x960", "720x1280", "1080x1920"]],
    ["of a landscape video have them too", { width: 1920, height: 1080 }, ["540x304", "720x404", "1080x608"]],
    ["of a 4K video stop at 1080", { width: 2160, height: 3840 }, ["540x960", "720x1280", "1080x1920"]],
    ["are only those that the source has", { width: 720, height: 1280 }, ["540x960", "720x1280"]],
    ["are never wider than the source", { width: 700, height: 700 }, ["540x540"]],
    ["of a small video are one, of its own size", { width: 320, height: 240 }, ["320x240"]],
    ["have even sizes", { width: 321, height: 241 }, ["320x240"]],
    ["of a single pixel are the least that H.264 knows", { width: 1, height: 1 }, ["2x2"]],
    ["of a picture on its side are turned", { width: 1280, height: 720, rotation: 90 }, ["540x960", "720x1280"]],
    ["of one on its other side too", { width: 1280, height: 720, rotation: -90 }, ["540x960", "720x1280"]],
    ["of one upside down are not", { width: 1280, height: 720, rotation: 180 }, ["540x304", "720x404", "1080x608"]],
    ["of a crooked one are not", { width: 320, height: 240, rotation: 30 }, ["320x240"]],
    ["of wide pixels are wider", { width: 360, height: 288, pixelAspect: 4 / 3 }, ["480x288"]],
    ["of narrow pixels are narrower", { width: 320, height: 240, pixelAspect: 0.5 }, ["160x240"]],
    [
      "of wide pixels on their side are higher",
      { width: 400, height: 200, pixelAspect: 1.5, rotation: 90 },
      ["200x600"],
    ],
    ["of a tower are as tall as decoders can", { width: 720, height: 8000 }, ["172x1920"]],
    ["of a tall phone too", { width: 1080, height: 2400 }, ["540x1200", "720x1600", "864x1920"]],
    ["of a ribbon keep two lines", { width: 16_384, height: 8 }, ["540x2", "720x2", "1080x2"]],
  ];
  test.each(cases)("%s", (_what, stream, expected) => {
    expect(sizes(stream)).toEqual(expected);
  });
});

describe("the ceiling of a rendition", () => {
  const ceilings = (stream: Partial<ProbedStream>, bitrate: number | null) =>
    planLadder(pictureOf({ width: 1080, height: 1920, ...stream }), bitrate).map(({ maxBitrate }) => maxBitrate);

  test("is that of its width", () => {
    expect(ceilings({}, 20_000_000)).toEqual([1_200_000, 2_500_000, 5_000_000]);
    expect(ceilings({}, null)).toEqual([1_200_000, 2_500_000, 5_000_000]);
  });

  test("is not above what the source itself takes, so that what was small does not grow", () => {
    const [small, middle, top] = ceilings({}, 1_000_000);
    expect(top).toBe(1_000_000);
    expect(middle).toBeWithin(500_000, 700_000);
    expect(small).toBeWithin(300_000, 400_000);
  });

  test("allows for codecs that say more with a bit", () => {
    expect(ceilings({ codec: "hevc" }, 1_000_000).at(-1)).toBe(1_300_000);
  });

  test("leaves enough to make a picture of", () => {
    expect(ceilings({}, 10)).toEqual([150_000, 150_000, 150_000]);
  });
});
