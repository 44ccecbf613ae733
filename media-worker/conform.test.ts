import { describe, expect, test } from "bun:test";

import { isContinuous, mayConform, parsePackets, pictureConforms, type Packet } from "./conform.ts";
import type { ProbedStream } from "./probe.ts";
import { pictureOf, probeOf, soundOf } from "./testing-probe.ts";

const phone = { width: 720, height: 1280 };
const may = (changes: Partial<ProbedStream>) => {
  const video = pictureOf({ ...phone, ...changes });
  return mayConform(video, probeOf([video]), 2_000_000);
};

describe("a picture may be taken over", () => {
  test("when it is what we would make of it", () => {
    expect(may({})).toBe(true);
    expect(may({ width: 320, height: 240, bitrate: 500_000 })).toBe(true);
  });

  test.each<[what: string, changes: Partial<ProbedStream>]>([
    ["another codec", { codec: "hevc" }],
    ["10 bits", { profile: "High 10", pixelFormat: "yuv420p10le" }],
    ["full range", { pixelFormat: "yuvj420p" }],
    ["a turn", { rotation: 90 }],
    ["pixels that are not square", { pixelAspect: 2 }],
    ["lines in two fields", { interlaced: true }],
    ["a width of no rendition", { width: 800 }],
    ["an odd size", { width: 321, height: 241 }],
    ["more pictures than screens show", { frameRate: 120 }],
    ["a level of no phone", { level: 52 }],
    ["more bits than its rendition may have", { bitrate: 3_000_000 }],
    ["a late beginning", { start: 0.5 }],
    ["wide gamut", { colorSpace: "bt2020nc" }],
  ])("but not with %s", (_what, changes) => {
    expect(may(changes)).toBe(false);
  });
});

const packet = (time: number, changes: Partial<Packet> = {}): Packet => ({
  stream: 0,
  time,
  duration: 0.5,
  isKey: time % 2 === 0,
  isDiscarded: false,
  ...changes,
});
const every = (step: number, end: number) => Array.from({ length: end / step }, (_, at) => packet(at * step));

describe("the packets of a picture", () => {
  const video = pictureOf(phone);
  const conform = (packets: Packet[]) => pictureConforms(video, probeOf([video]), packets);

  test("conform when each two seconds begin with a keyframe", () => {
    expect(conform(every(0.5, 5))).toBe(true);
  });

  test.each<[what: string, packets: Packet[]]>([
    ["there are none", []],
    ["keyframes are rare", every(0.5, 5).map(({ time }) => packet(time ?? 0, { isKey: time === 0 }))],
    ["they begin without a keyframe", every(0.5, 5).slice(1)],
    ["an edit list cuts some off", [packet(0, { isDiscarded: true }), ...every(0.5, 5).slice(1)]],
    ["they lack times", [...every(0.5, 5), packet(0, { time: null })]],
    ["they begin late", every(0.5, 5).map(({ time }) => packet((time ?? 0) + 2))],
  ])("do not when %s", (_what, packets) => {
    expect(conform(packets)).toBe(false);
  });
});

describe("the packets of a sound", () => {
  const sound = soundOf({ index: 0 });
  const continuous = (packets: Packet[]) => isContinuous(sound, probeOf([sound]), packets);

  test("are continuous when each begins where the one before it ends", () => {
    expect(continuous(every(0.5, 5))).toBe(true);
  });

  test.each<[what: string, packets: Packet[]]>([
    ["there are none", []],
    ["one is missing", every(0.5, 5).filter(({ time }) => time !== 2.5)],
    ["they begin late", every(0.5, 5).slice(1)],
    ["they lack times", [packet(0, { time: null })]],
  ])("are not when %s", (_what, packets) => {
    expect(continuous(packets)).toBe(false);
  });
});

test("packets are read from ffprobe's list, whatever is missing in it", () => {
  expect(parsePackets("0,0.000000,0.033333,K_\n1,-0.021333,0.021333,_D\n0,N/A,N/A,__\n\n")).toEqual([
    { stream: 0, time: 0, duration: 0.033333, isKey: true, isDiscarded: false },
    { stream: 1, time: -0.021333, duration: 0.021333, isKey: false, isDiscarded: true },
    { stream: 0, time: null, duration: null, isKey: false, isDiscarded: false },
  ]);
});
