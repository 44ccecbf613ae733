import { describe, expect, test } from "bun:test";

import { FfmpegFailure } from "./ffmpeg.ts";
import type { FfmpegRun } from "./ffmpeg-run.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import type { Probe, ProbedStream } from "./probe.ts";
import { pictureOf, probeOf, soundOf } from "./testing-probe.ts";
import { checkResult, whyUndecodable, whyUnreadable } from "./verdict.ts";

const limits: Limits = { ...defaultLimits, maxPixels: 1_000_000 };

const fine = "frame:0    pts:0       pts_time:0\nlook=1\n";
const run: FfmpegRun = { inputs: [], filter: null, outputs: [], timeLimitMs: 1, maxOutputBytes: 5000 };

describe("when FFmpeg gives up", () => {
  const failed = (kind: FfmpegFailure["kind"], message: string, stderr: string, stdout = "") =>
    new FfmpegFailure(kind, message, { stdout, stderr });

  type Case = [what: string, kind: FfmpegFailure["kind"], message: string, stderr: string, reason: string | null];
  const gaveUp = "ffmpeg exited with code 1";

  const unreadable: Case[] = [
    ["another format is no video", "exit", gaveUp, "[png_pipe] Format not on whitelist 'mov'", "not a video"],
    ["a missing index is an incomplete file", "exit", gaveUp, "[mov] moov atom not found", "incomplete"],
    [
      "more streams than FFmpeg takes are too many",
      "exit",
      gaveUp,
      "exceeds max_streams parameter",
      "more than 64 tracks",
    ],
    ["pixels beyond the limit name it", "exit", gaveUp, "exceeds specified max pixel count 1", "1000000 pixels"],
    ["a crash is the file's fault", "signal", "killed by SIGSEGV", "", "not a video"],
    ["a lack of processes is not", "exit", "ffprobe exited with code 2", "launch.sh: 49: Cannot fork", null],
    ["being killed is not", "signal", "killed by SIGKILL", "", null],
    ["a missing program is not", "start", "cannot be started", "", null],
  ];
  test.each(unreadable)("reading: %s", (_what, kind, message, stderr, reason) => {
    const verdict = whyUnreadable(failed(kind, message, stderr), limits);
    expect(verdict?.message ?? null).toEqual(reason && expect.stringContaining(reason));
  });

  const undecodable: Case[] = [
    ["what breaks off is damaged", "exit", gaveUp, "Error while decoding", "damaged"],
    ["a demand for too much memory is told", "exit", gaveUp, "Cannot allocate memory", "memory"],
    ["a full disk is our fault", "exit", gaveUp, "No space left on device", null],
    [
      "so is a lack of threads",
      "exit",
      gaveUp,
      "opening decoder for input stream #0:0 : Resource temporarily unavailable",
      null,
    ],
    [
      "also for an encoder",
      "exit",
      gaveUp,
      "Error while opening encoder for output stream #0:0 - maybe incorrect",
      null,
    ],
    ["a crash is the file's fault", "signal", "killed by SIGABRT", "", "damaged"],
    ["a result beyond the limit on files names it", "signal", "killed by SIGXFSZ", "", "5000 bytes"],
    ["also when FFmpeg sees it itself", "exit", gaveUp, "Error writing trailer: File too large", "5000 bytes"],
    ["being killed is not", "signal", "killed by SIGKILL", "", null],
    ["nor is a lack of time", "time limit", "took more than 10 ms", "", null],
  ];
  test.each(undecodable)("decoding: %s", (_what, kind, message, stderr, reason) => {
    const verdict = whyUndecodable(failed(kind, message, stderr, fine), run, limits);
    expect(verdict?.message ?? null).toEqual(reason && expect.stringContaining(reason));
  });

  test("decoding: without a single picture there is nothing to see", () => {
    const verdict = whyUndecodable(
      failed("exit", gaveUp, "Cannot determine format of input stream 0:0 after EOF"),
      run,
      limits,
    );
    expect(verdict?.message).toContain("no picture");
  });
});

describe("the result", () => {
  const stream = (changes: Partial<ProbedStream> = {}) => pictureOf({ width: 320, height: 240, ...changes });
  const probe = (duration: number | null, streams: ProbedStream[]) => probeOf(streams, { duration });
  const sound = soundOf;
  const source = probe(10, [stream({ codec: "vp9" }), sound({ codec: "opus" })]);
  const rung = { name: "320", width: 320, height: 240 };
  const check = (result: Probe, stderr = "", of: Probe = source) =>
    checkResult(of, [{ rung, probe: result }], { withSound: true, stderr, limits });

  test("is accepted with its duration in milliseconds", () => {
    expect(check(probe(10.016, [stream(), sound()]))).toBe(10_016);
  });

  test("may lack a quarter of a second", () => {
    expect(check(probe(9.8, [stream({ duration: 9.8 }), sound()]), "complaint")).toBe(9_800);
  });

  test.each([
    ["shorter than the file says", probe(6, [stream({ duration: 6 }), sound({ duration: 6 })]), "incomplete"],
    ["shorter in its picture alone", probe(10, [stream({ duration: 6 }), sound()]), "incomplete"],
  ])("is refused when it is %s and FFmpeg complained", (_what, result, reason) => {
    expect(() => check(result, "stream 1, offset 0x2b6ea0: partial file")).toThrow(reason);
  });

  test("may be shorter when FFmpeg found no fault: the last picture of a slide show stands for long", () => {
    expect(check(probe(6, [stream({ duration: 6 }), sound()]))).toBe(6_000);
  });

  test("is refused when it is longer than allowed, whatever the file said", () => {
    expect(() => check(probe(601, [stream(), sound()]))).toThrow("longer than 600 seconds");
  });

  test("without a picture is refused", () => {
    expect(() => check(probe(10, [sound()]))).toThrow("no picture");
  });

  test.each([
    ["another codec", probe(10, [stream({ codec: "hevc" }), sound()])],
    ["another pixel format", probe(10, [stream({ pixelFormat: "yuv444p" }), sound()])],
    ["another size", probe(10, [stream({ width: 322 }), sound()])],
    ["no sound", probe(10, [stream()])],
    ["other sound", probe(10, [stream(), sound({ codec: "mp3" })])],
  ])("is a fault of ours with %s", (_what, result) => {
    expect(() => check(result)).toThrow(/^the (result|sound)/);
  });
});
