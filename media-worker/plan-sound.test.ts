import { describe, expect, test } from "bun:test";

import { defaultLimits } from "./limits.ts";
import { correctLeveling, parseLoudness, planLeveling, planSound, soundConforms } from "./plan-sound.ts";
import { soundOf } from "./testing-probe.ts";

test("loudness is the last that was printed", () => {
  const text =
    "lavfi.r128.I=-30.1\nlavfi.r128.true_peak=0.1\nframe:1\nlavfi.r128.I=-19.444\nlavfi.r128.true_peak=0.500\n";
  expect(parseLoudness(text)).toEqual({ lufs: -19.444, peak: expect.closeTo(-6.02, 2) });
});

test("silence, and what is too short to be measured, has none", () => {
  expect(parseLoudness("lavfi.r128.I=-70.000\nlavfi.r128.true_peak=0.000\n")).toEqual({ lufs: null, peak: null });
  expect(parseLoudness("lavfi.r128.I=nan\n")).toEqual({ lufs: null, peak: null });
  expect(parseLoudness("")).toEqual({ lufs: null, peak: null });
});

describe("the level", () => {
  test.each([
    ["quiet sound is turned up", { lufs: -20, peak: -12 }, { gain: 6, ceiling: null }],
    ["loud sound is turned down", { lufs: -8, peak: 1 }, { gain: -6, ceiling: null }],
    ["its peaks are held where they would be cut off", { lufs: -24, peak: -3 }, { gain: 10, ceiling: -2.2 }],
    ["very quiet sound is turned up only so far", { lufs: -50, peak: -40 }, { gain: 20, ceiling: null }],
    ["noise is left alone", { lufs: -65, peak: -50 }, { gain: 0, ceiling: null }],
    ["silence is left alone", { lufs: null, peak: null }, { gain: 0, ceiling: null }],
    ["a click too short to be measured is held", { lufs: null, peak: 0 }, { gain: 0, ceiling: -2.2 }],
  ])("%s", (_what, loudness, leveling) => {
    expect(planLeveling(loudness)).toEqual(leveling);
  });

  test("is corrected where the limiter took too much away, and only then", () => {
    const limited = { gain: 10, ceiling: -2.2 };
    expect(correctLeveling(limited, { lufs: -15.2, peak: -2 })).toEqual({ gain: 11.2, ceiling: -2.2 });
    expect(correctLeveling(limited, { lufs: -14.3, peak: -2 })).toBeNull();
    expect(correctLeveling({ gain: 10, ceiling: null }, { lufs: -16, peak: -2 })).toBeNull();
    expect(correctLeveling({ gain: 19.5, ceiling: -2.2 }, { lufs: -17, peak: -2 })).toEqual({
      gain: 20,
      ceiling: -2.2,
    });
  });

  test("is corrected where peaks came back from the encoder", () => {
    expect(correctLeveling({ gain: 3, ceiling: null }, { lufs: -14, peak: -0.3 })).toEqual({ gain: 3, ceiling: -2.7 });
    expect(correctLeveling({ gain: 3, ceiling: -2.2 }, { lufs: -14, peak: -0.5 })).toEqual({ gain: 3, ceiling: -3 });
    expect(correctLeveling({ gain: 3, ceiling: -8.9 }, { lufs: -14, peak: 3 })).toEqual({ gain: 3, ceiling: -9 });
  });
});

test("a sound is taken over when it is AAC-LC in stereo at 48 kHz, as loud as all, and without gaps", () => {
  const loud = { lufs: -14.4, peak: -1.5 };
  expect(soundConforms(soundOf(), loud, true)).toBe(true);
  expect(soundConforms(soundOf(), loud, false)).toBe(false);
  expect(soundConforms(soundOf(), { ...loud, lufs: -20 }, true)).toBe(false);
  expect(soundConforms(soundOf(), { ...loud, peak: -0.2 }, true)).toBe(false);
  expect(soundConforms(soundOf({ channels: 1 }), loud, true)).toBe(false);
  expect(soundConforms(soundOf({ sampleRate: 44_100 }), loud, true)).toBe(false);
  expect(soundConforms(soundOf({ profile: "HE-AAC" }), loud, true)).toBe(false);
  expect(soundConforms(soundOf({ codec: "mp3" }), loud, true)).toBe(false);
  expect(soundConforms(soundOf({ bitrate: 320_000 }), loud, true)).toBe(false);
});

test("the sound becomes AAC-LC in stereo at 48 kHz, with the limiter at four times the rate", () => {
  const options = planSound(soundOf(), { gain: 6, ceiling: -2.2 }, defaultLimits, 1000).outputs[0]?.options.join(" ");
  expect(options).toContain("volume=6dB,aresample=192000,alimiter=limit=0.7762:");
  expect(options).toContain("-c:a aac -profile:a aac_low -b:a 128000 -ar 48000 -ac 2");
  const plain = planSound(soundOf(), { gain: 6, ceiling: null }, defaultLimits, 1000).outputs[0]?.options.join(" ");
  expect(plain).not.toContain("alimiter");
});

test.each([
  ["as much as the source has", { bitrate: 96_000 }, 96_000],
  ["at most 128 kb/s", { bitrate: 320_000 }, 128_000],
  ["at least 64 kb/s", { bitrate: 12_000 }, 64_000],
  ["more than a codec needs that says more with a bit", { codec: "opus", bitrate: 64_000 }, 96_000],
  ["128 kb/s where nothing is known", { bitrate: null }, 128_000],
])("it gets %s", (_what, changes, bitrate) => {
  const options = planSound(soundOf(changes), { gain: 0, ceiling: null }, defaultLimits, 1000).outputs[0]?.options;
  expect(options?.join(" ")).toContain(`-b:a ${bitrate} `);
});
