import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createFfmpeg, diesWithWorker, FfmpegFailure, type Fence } from "./ffmpeg.ts";
import { videoFormats } from "./ffmpeg-run.ts";
import { defaultLimits } from "./limits.ts";
import { planVideo } from "./plan.ts";
import { makeClip, makeScript } from "./testing.ts";

const limits = defaultLimits;
const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });
const forever = AbortSignal.any([]);

/** May this user leave the network, as root or in a user namespace? Then the launcher does. */
const leavesNetwork = ["-n", "-cn"].some((how) => Bun.spawnSync(["unshare", how, "true"]).success);

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-ffmpeg-"));
  const x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -f mp4";
  await makeClip(dir, `-f lavfi -i testsrc2=size=640x480:rate=30:duration=8 ${x264} input`);
});
afterAll(() => rm(dir, { recursive: true }));

async function planned() {
  const probe = await ffmpeg.probe(dir, "input", {
    maxPixels: limits.maxPixels,
    formats: videoFormats,
    signal: forever,
  });
  return planVideo(probe, limits, { conforms: false, bytes: 10_000_000 }).run;
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
  expect((await stat(join(dir, "picture-540.mp4"))).size).toBeLessThanOrEqual(100_352);
});

test("progress is told while a run goes on, and is no complaint", async () => {
  const told: number[] = [];
  const { stderr } = await ffmpeg.run(dir, await planned(), forever, (doneMs) => told.push(doneMs));
  expect(told.length).toBeGreaterThan(0);
  expect(told).toEqual(told.toSorted((a, b) => a - b));
  expect(told.at(-1)).toBeWithin(7_000, 8_500);
  expect(stderr.trim()).toBe("");
});

test("packets are listed", async () => {
  const packets = await ffmpeg.packets(dir, "input", { maxPixels: 1e7, formats: videoFormats, signal: forever });
  expect(packets).toHaveLength(240);
  expect(packets[0]).toMatchObject({ stream: 0, time: 0, isKey: true });
});

test("a run that was aborted before it began does not begin", async () => {
  await expect(ffmpeg.run(dir, await planned(), AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});

test("an abort ends a probe", async () => {
  const slow = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: await makeScript(dir, "exec sleep 20") });
  const startedAt = performance.now();
  const signal = AbortSignal.timeout(300);
  await expect(slow.probe(dir, "input", { maxPixels: 1, formats: videoFormats, signal })).rejects.toThrow("timed out");
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test("what a file makes ffprobe say is not kept beyond a bound", async () => {
  const loud = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: await makeScript(dir, "exec yes") });
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

describe("without a sandbox, the programs run", () => {
  /** What a program sees that is started as ffprobe is. */
  async function seen(command: string, limited: Partial<Fence> = {}): Promise<string> {
    const ffprobePath = await makeScript(dir, `{ ${command}; } >&2; exit 1`);
    const spy = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath, sandbox: "none", ...limited });
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

  test("with other limits where they are set", async () => {
    const limited = { maxMemoryMiB: 512, maxProcesses: 12_345 };
    expect(await seen("ulimit -v; sed -n 's/^Max processes *//p' /proc/self/limits", limited)).toMatch(
      /^524288\n12345 +12345 /,
    );
  });

  test.if(leavesNetwork)("without a network", async () => {
    expect(await seen("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")).toBe("lo");
    expect(await seen("cat /proc/net/route | tail -n +2; ip -o link 2>/dev/null | grep -c 'state UP'")).toBe("0");
  });

  test.if(diesWithWorker("none"))("without a way to more rights", async () => {
    const status = await seen("cat /proc/self/status");
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
  });
});
