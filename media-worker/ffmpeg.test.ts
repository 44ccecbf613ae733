import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createFfmpeg, diesWithWorker, FfmpegFailure } from "./ffmpeg.ts";
import { planVideo, videoFormats, type Limits } from "./plan.ts";
import { makeClip } from "./testing.ts";

const limits: Limits = { maxInputBytes: 1e9, maxDurationS: 600, maxPixels: 4096 * 4096 };
const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });
const forever = AbortSignal.any([]);

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-ffmpeg-"));
  const x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -f mp4";
  await makeClip(dir, `-f lavfi -i testsrc2=size=640x480:rate=30:duration=8 ${x264} input`);
});
afterAll(() => rm(dir, { recursive: true }));

async function planned() {
  return planVideo(
    await ffmpeg.probe(dir, "input", { maxPixels: limits.maxPixels, formats: videoFormats, signal: forever }),
    limits,
  );
}

async function failure(work: Promise<unknown>): Promise<FfmpegFailure> {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(FfmpegFailure);
  return error as FfmpegFailure;
}

test("a run that takes longer than it may is killed", async () => {
  const startedAt = performance.now();
  const { kind, message } = await failure(ffmpeg.run(dir, { ...(await planned()), timeLimitMs: 400 }, forever));
  expect([kind, message]).toEqual(["time limit", "ffmpeg took more than 400 ms"]);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test("a run that writes more than it may is ended", async () => {
  const { kind, message } = await failure(ffmpeg.run(dir, { ...(await planned()), maxOutputBytes: 100_000 }, forever));
  expect([kind, message]).toEqual(["signal", "ffmpeg was killed by SIGXFSZ"]);
  expect((await stat(join(dir, "play.mp4"))).size).toBeLessThanOrEqual(100_352);
});

test("a run that was aborted before it began does not begin", async () => {
  await expect(ffmpeg.run(dir, await planned(), AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});

test("an abort ends a probe", async () => {
  const slow = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: await script("slow", "exec sleep 20") });
  const startedAt = performance.now();
  const signal = AbortSignal.timeout(300);
  await expect(slow.probe(dir, "input", { maxPixels: 1, formats: videoFormats, signal })).rejects.toThrow("timed out");
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test("what a file makes ffprobe say is not kept beyond a bound", async () => {
  const loud = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: await script("loud", "exec yes") });
  const { kind } = await failure(loud.probe(dir, "input", { maxPixels: 1, formats: videoFormats, signal: forever }));
  expect(kind).toBe("signal");
});

test("a program that is missing is no fault of the file", async () => {
  const nowhere = createFfmpeg({ ffmpegPath: "/nowhere/ffmpeg", ffprobePath: "/nowhere/ffprobe" });
  const plan = await planned();
  expect((await failure(nowhere.run(dir, plan, forever))).kind).toBe("start");
  expect(
    (await failure(nowhere.probe(dir, "input", { maxPixels: 1, formats: videoFormats, signal: forever }))).kind,
  ).toBe("start");
});

describe("the programs run", () => {
  /** What a program sees that is started as ffprobe is. */
  async function seen(command: string): Promise<string> {
    const spy = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: await script("spy", `{ ${command}; } >&2; exit 1`) });
    const { output } = await failure(spy.probe(dir, "input", { maxPixels: 1, formats: videoFormats, signal: forever }));
    return output.stderr.trim();
  }

  test("without our environment", async () => {
    process.env["FLICK_TEST_SECRET"] = "nobody's business";
    try {
      const names = (await seen("env")).split("\n").map((line) => line.split("=")[0]);
      // PWD and _ are what the shell of this test adds.
      expect(names.filter((name) => name !== "PWD" && name !== "_")).toEqual(["PATH"]);
    } finally {
      delete process.env["FLICK_TEST_SECRET"];
    }
  });

  test("with limits on CPU time, files, core dumps and memory", async () => {
    expect(await seen("ulimit -t; ulimit -f; ulimit -c; ulimit -v")).toBe("30\n0\n0\n3145728");
  });

  test.if(diesWithWorker())("without a way to more rights", async () => {
    const status = await seen("cat /proc/self/status");
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
  });
});

async function script(name: string, body: string): Promise<string> {
  const path = join(dir, `${name}-${crypto.randomUUID()}`);
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}
