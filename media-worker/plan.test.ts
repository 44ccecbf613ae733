import { describe, expect, test } from "bun:test";

import { defaultLimits } from "./limits.ts";
import { bitrateOf, planVideo, runTimeLimitMs } from "./plan.ts";
import type { Probe, ProbedStream } from "./probe.ts";
import { pictureOf, probeOf, soundOf } from "./testing-probe.ts";

const video = pictureOf();
const audio = soundOf();
const probed = (changes: Partial<ProbedStream> = {}): Probe => probeOf([pictureOf(changes), audio]);
const plan = (probe: Probe, conforms = false) => planVideo(probe, defaultLimits, { conforms, bytes: 1_000_000 });
const filterOf = (probe: Probe, conforms = false) => plan(probe, conforms).run.filter ?? "";
const optionsOf = (probe: Probe, file: string, conforms = false) =>
  plan(probe, conforms)
    .run.outputs.find((output) => output.file === file)
    ?.options.join(" ") ?? "";

describe("what is refused", () => {
  const refused: [what: string, probe: Probe, reason: string][] = [
    ["nothing at all", probeOf([]), "There is no video in this file."],
    ["data only", probeOf([pictureOf({ type: "other" })]), "There is no video in this file."],
    ["sound only", probeOf([audio]), "There is only sound in this file, no picture."],
    ["sound with a cover", probed({ isPicture: true }), "There is only sound in this file, no picture."],
    ["an unknown codec", probed({ codec: null }), "The picture in this file is in a format that we do not know."],
    [
      "a codec of no phone",
      probed({ codec: "cinepak" }),
      "The picture in this file is in a format that we do not know.",
    ],
    ["a picture without a size", probed({ width: 0 }), "The picture in this file is in a format that we do not know."],
    ["too long", { ...probed(), duration: 601 }, "The video is longer than 600 seconds."],
    ["too large", probed({ width: 8192, height: 8192 }), "The picture has more than 16777216 pixels."],
    ["too many tracks", probeOf(Array.from({ length: 65 }, () => pictureOf())), "The file has more than 64 tracks."],
  ];
  test.each(refused)("%s", (_what, probe, reason) => {
    expect(() => plan(probe)).toThrow(reason);
  });

  test("a recorder may stop half a second late", () => {
    expect(() => plan({ ...probed(), duration: 600.4 })).not.toThrow();
  });
});

test("the first real video and the first known sound are taken", () => {
  const streams = [
    pictureOf({ index: 0, isPicture: true }),
    soundOf({ index: 1, codec: null }),
    pictureOf({ index: 2 }),
    soundOf({ index: 3 }),
    pictureOf({ index: 4 }),
    soundOf({ index: 5 }),
  ];
  expect(filterOf(probeOf(streams))).toStartWith("[0:2]scale=");
  expect(optionsOf(probeOf(streams), "sound.wav")).toContain("-map 0:3 ");
  expect(plan(probeOf(streams)).sound?.index).toBe(3);
});

test("a silent video has no sound", () => {
  const planned = plan(probeOf([video]));
  expect(planned.sound).toBeNull();
  expect(planned.run.outputs.map(({ file }) => file)).not.toContain("sound.wav");
});

test("one run decodes once and writes every width, the looks for the cover, and the sound", () => {
  const { run, rungs } = plan(probed({ width: 1080, height: 1920 }));
  expect(run.inputs).toHaveLength(1);
  expect(run.outputs.map(({ file }) => file)).toEqual([
    "picture-540.mp4",
    "picture-720.mp4",
    "picture-1080.mp4",
    "looks.gray",
    "sound.wav",
  ]);
  expect(rungs.map(({ copied }) => copied)).toEqual([false, false, false]);
  expect(run.filter).toContain("[0:0]scale=1080:1920:");
  expect(run.filter).toContain("[shown]null,split[to1080][from720];[from720]scale=720:1280:");
  expect(run.filter).toContain("split[to720][from540];[from540]scale=540:960:");
});

test("a rendition is H.264 High with keyframes at the same moments as the others and nowhere else", () => {
  const options = optionsOf(probed(), "picture-720.mp4");
  for (const part of [
    "-c:v libx264 -profile:v high -preset superfast -mbtree 1 -rc-lookahead 10",
    "-crf 23 -maxrate 842187 -bufsize 1684374",
    "-fpsmax 60",
    "-g 600 -keyint_min 301 -force_key_frames expr:gte(t,n_forced*2)",
    "-map_metadata -1 -map_chapters -1",
  ]) {
    expect(options).toContain(part);
  }
});

test("a picture that conforms is copied as the widest rendition, and the others take its keyframes", () => {
  const probe = probed({ width: 720, height: 1280 });
  expect(plan(probe, true).rungs.map(({ copied }) => copied)).toEqual([false, true]);
  expect(optionsOf(probe, "picture-720.mp4", true)).toContain("-map 0:0 -c:v copy -bsf:v filter_units=remove_types=6");
  expect(optionsOf(probe, "picture-540.mp4", true)).toContain("-force_key_frames source ");
  expect(filterOf(probe, true)).toContain("[0:0]scale=540:960:");
  expect(filterOf(probe, true)).toContain("split[all][shown];[shown]null[to540];[all]select=");
});

test("a small picture that conforms is decoded for its looks alone", () => {
  const probe = probed({ width: 320, height: 240 });
  expect(filterOf(probe, true)).toContain(",null[all];[all]select=");
  expect(optionsOf(probe, "picture-320.mp4", true)).toContain("-c:v copy");
});

test("what begins late is shown from the beginning of the sound on", () => {
  expect(filterOf(probed())).not.toContain("setpts");
  expect(filterOf(probed({ start: 0.5 }))).toContain("setpts='if(eq(N,0)*lt(T,1.500),0,PTS)'");
});

test("interlaced pictures are not", () => {
  expect(filterOf(probed({ interlaced: true }))).toStartWith("[0:0]yadif=deint=interlaced,scale=");
});

test("the input may name no other file, no other format, no odd decoder and no network", () => {
  const input = plan(probed()).run.inputs[0]?.options.join(" ");
  expect(input).toContain("-nostdin");
  expect(input).toContain("-protocol_whitelist file ");
  expect(input).toContain("-format_whitelist mov,mp4,m4a,3gp,3g2,mj2,matroska,webm ");
  expect(input).toContain("-codec_whitelist h264,hevc,av1,");
  expect(input).toContain("-max_pixels 16777216");
  expect(input).toContain("-t 601");
});

test("looks for the cover are taken all along, three at a time", () => {
  // 600 pictures in 20 seconds, 32 moments.
  expect(filterOf({ ...probed(), duration: 20 })).toContain("select='lt(mod(n,19),3)'");
  expect(filterOf({ ...probed(), duration: 0.5 })).toContain("select='lt(mod(n,3),3)'");
  expect(filterOf({ ...probed(), duration: null })).toContain("select='lt(mod(n,20),3)'");
  expect(optionsOf(probed(), "looks.gray")).toContain("-frames:v 96 ");
});

test("time and space are given by duration, the most of both to a video that does not tell it", () => {
  const { run } = plan(probed());
  expect(run.timeLimitMs).toBe(60_000 + 10 * 10_000);
  expect(run.maxOutputBytes).toBe(10_000_000 + 10 * 384_000);
  const unknown = plan({ ...probed(), duration: null }).run;
  expect(unknown.timeLimitMs).toBe(plan({ ...probed(), duration: 600 }).run.timeLimitMs);
  expect(unknown.maxOutputBytes).toBe(10_000_000 + 600 * 384_000);
  const tight = planVideo(probed(), { ...defaultLimits, maxOutputBytes: 5000 }, { conforms: false, bytes: 1 });
  expect(tight.run.maxOutputBytes).toBe(5000);
});

test("no run is given more time than a timer can count, which would end it at once", () => {
  const generous = { ...defaultLimits, maxDurationS: 86_400, maxRunSPerSecond: 100 };
  expect(runTimeLimitMs(86_400, generous)).toBe(2_147_483_647);
});

test("the bitrate of a picture is what the container says, else at most that of the file", () => {
  expect(bitrateOf(video, probed(), 1)).toBe(2_000_000);
  const silent = pictureOf({ bitrate: null });
  expect(bitrateOf(silent, probeOf([silent]), 1_000_000)).toBe(800_000);
  const endless = pictureOf({ bitrate: null, duration: null });
  expect(bitrateOf(endless, probeOf([endless], { duration: null }), 1_000_000)).toBeNull();
});
