import { describe, expect, test } from "bun:test";

import { planVideo, type Limits } from "./plan.ts";
import type { Probe, ProbedStream } from "./probe.ts";

const limits: Limits = { maxInputBytes: 1e9, maxDurationS: 600, maxPixels: 4096 * 4096 };

const video: ProbedStream = {
  index: 0,
  type: "video",
  codec: "h264",
  width: 1280,
  height: 720,
  pixelFormat: "yuv420p",
  pixelAspect: 1,
  rotation: 0,
  duration: 10,
  isPicture: false,
};
const audio: ProbedStream = { ...video, index: 1, type: "audio", codec: "aac", width: 0, height: 0, pixelFormat: null };

const probed = (changes: Partial<ProbedStream> = {}): Probe => ({
  duration: 10,
  streams: [{ ...video, ...changes }, audio],
});
const plan = (probe: Probe) => planVideo(probe, limits);
const optionsOf = (probe: Probe) => plan(probe).outputs.map(({ options }) => options.join(" ")) as [string, string];

describe("the size on the screen", () => {
  const sizes: [what: string, stream: Partial<ProbedStream>, width: number, height: number][] = [
    ["landscape is scaled to the width", { width: 1920, height: 1080 }, 720, 404],
    ["portrait is scaled to the width", { width: 1080, height: 1920 }, 720, 1280],
    ["small pictures are never enlarged", { width: 320, height: 240 }, 320, 240],
    ["odd lengths become even", { width: 321, height: 241 }, 320, 240],
    ["a single pixel becomes the least that H.264 knows", { width: 1, height: 1 }, 2, 2],
    ["a picture that lies on its side is turned", { width: 1920, height: 1080, rotation: 90 }, 720, 1280],
    ["whichever way", { width: 1920, height: 1080, rotation: -90 }, 720, 1280],
    ["upside down is no other shape", { width: 1920, height: 1080, rotation: 180 }, 720, 404],
    ["a crooked picture keeps its shape", { width: 320, height: 240, rotation: 30 }, 320, 240],
    ["wide pixels widen the picture", { width: 720, height: 480, pixelAspect: 4 / 3 }, 720, 360],
    ["narrow pixels narrow it", { width: 320, height: 240, pixelAspect: 0.5 }, 160, 240],
    [
      "wide pixels heighten a picture on its side",
      { width: 400, height: 200, pixelAspect: 1.5, rotation: 90 },
      200,
      600,
    ],
    ["a tower is as tall as decoders can", { width: 720, height: 8000 }, 172, 1920],
    ["a ribbon keeps two lines", { width: 16_384, height: 8 }, 720, 2],
  ];
  test.each(sizes)("%s", (_what, stream, width, height) => {
    const planned = plan(probed(stream));
    expect([planned.width, planned.height]).toEqual([width, height]);
    expect(planned.filter).toContain(`scale=${width}:${height}:`);
    expect(planned.filter).toContain("setsar=1,format=yuv420p");
  });
});

describe("what is refused", () => {
  const refused: [what: string, probe: Probe, reason: string][] = [
    ["nothing at all", { duration: 10, streams: [] }, "There is no video in this file."],
    ["data only", { duration: 10, streams: [{ ...video, type: "other" }] }, "There is no video in this file."],
    ["sound only", { duration: 10, streams: [audio] }, "There is only sound in this file, no picture."],
    ["sound with a cover", probed({ isPicture: true }), "There is only sound in this file, no picture."],
    ["an unknown codec", probed({ codec: null }), "The picture in this file is in a format that we do not know."],
    ["a picture without a size", probed({ width: 0 }), "The picture in this file is in a format that we do not know."],
    ["too long", { ...probed(), duration: 601 }, "The video is longer than 600 seconds."],
    ["too large", probed({ width: 8192, height: 8192 }), "The picture has more than 16777216 pixels."],
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
    { ...video, index: 0, isPicture: true },
    { ...audio, index: 1, codec: null },
    { ...video, index: 2 },
    { ...audio, index: 3 },
    { ...video, index: 4 },
    { ...audio, index: 5 },
  ];
  const planned = plan({ duration: 10, streams });
  expect(planned.filter).toStartWith("[0:2]scale=");
  expect(planned.outputs[0]?.options.join(" ")).toContain("-map 0:3 ");
  expect(planned.withAudio).toBe(true);
});

test("a silent video has no sound", () => {
  const planned = plan({ duration: 10, streams: [video] });
  expect(planned.withAudio).toBe(false);
  expect(planned.outputs[0]?.options).not.toContain("aac");
});

test("the video is H.264 High with AAC-LC, ready to start, without metadata", () => {
  const [play] = optionsOf(probed());
  for (const part of [
    "-c:v libx264 -profile:v high -preset veryfast",
    "-crf 23 -maxrate 2500000 -bufsize 5000000",
    "-fpsmax 60",
    "-force_key_frames expr:gte(t,n_forced*2)",
    "-c:a aac -profile:a aac_low -b:a 128000 -ac 2 -af aresample=48000",
    "-map_metadata -1 -map_chapters -1 -movflags +faststart",
  ]) {
    expect(play).toContain(part);
  }
});

test("the input may name no other file, no other format and no network", () => {
  const input = plan(probed()).inputOptions.join(" ");
  expect(input).toContain("-nostdin");
  expect(input).toContain("-protocol_whitelist file ");
  expect(input).toContain("-format_whitelist mov,mp4,m4a,3gp,3g2,mj2,matroska,webm ");
  expect(input).toContain("-max_pixels 16777216");
  expect(input).toContain("-t 601");
});

test("covers are looked for at the start and all along", () => {
  const { filter } = plan({ ...probed(), duration: 20 });
  expect(filter).toContain("eq(n,0)+gte(t,1)*lt(prev_selected_t,1)+gte(t,3)");
  expect(filter).toContain("gte(t,18)*lt(prev_selected_t,18)'");
  expect(optionsOf({ ...probed(), duration: 20 })[1]).toContain("-frames:v 8 ");
});

test("covers of a video that does not tell its duration are looked for in its first half minute", () => {
  expect(plan({ ...probed(), duration: null }).filter).toContain("gte(t,0.5)*lt(prev_selected_t,0.5)");
});

test("time and space are given by duration, the most of both to a video that does not tell it", () => {
  const planned = plan(probed());
  expect(planned.timeLimitMs).toBe(60_000 + 10 * 10_000);
  expect(planned.maxOutputBytes).toBe(10_000_000 + 1.5 * 10 * (2_628_000 / 8));
  const unknown = plan({ ...probed(), duration: null });
  expect(unknown.timeLimitMs).toBe(plan({ ...probed(), duration: 600 }).timeLimitMs);
});
