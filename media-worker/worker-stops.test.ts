import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";

import { freePorts } from "@flick/dev/ports.ts";

import { until } from "./testing.ts";
import { ffmpegsOf, never, startWorkers, type Workers } from "./testing-worker.ts";

// Real transcodes, on a machine that does other things too.

let workers: Workers;

beforeAll(async () => {
  workers = await startWorkers();
}, 60_000);

beforeEach(() => workers.renew());

afterEach(() => workers.killAll());

afterAll(() => workers.stop());

describe("stopping", () => {
  test("waits for the job at work and ends with 0", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: never, DRAIN_MS: "30000" });
    const videoId = workers.service.add(workers.clips.slow);
    await workers.publishChange(videoId);
    await until(() => ffmpegsOf(worker.workDir).length > 0, "FFmpeg at work");
    expect(await worker.stop()).toBe(0);
    expect(workers.video(videoId)).toMatchObject({ status: "ready", attempts: 1 });
    expect(readdirSync(worker.workDir)).toEqual([]);
  });

  test("gives a job back that takes longer than it may wait", async () => {
    const { worker, videoId } = await workers.startStuckJob({ DRAIN_MS: "200" });
    const startedAt = performance.now();
    expect(await worker.stop()).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(ffmpegsOf(worker.workDir)).toEqual([]);
    expect(workers.video(videoId)).toMatchObject({
      status: "uploaded",
      failed: [{ permanent: false, interrupted: true }],
    });
    expect(readdirSync(worker.workDir)).toEqual([]);
  });

  test("does not take long when the video service is away", async () => {
    const { worker } = await workers.startStuckJob({ DRAIN_MS: "200" });
    await workers.service.stop();
    const startedAt = performance.now();
    expect(await worker.stop()).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

test("the health check answers while the worker takes jobs", async () => {
  const [port] = await freePorts(1);
  const worker = await workers.startWorker({ HEALTH_PORT: String(port) });
  const ready = worker.lines.find(({ message }) => message === "taking jobs");
  const response = await fetch(new URL("/healthz", String(ready?.["health"])));
  expect([response.status, await response.text()]).toEqual([200, "ok, 0 jobs at work\n"]);
});

describe("a start that cannot work ends with 1 and says why", () => {
  test.each([
    [{ SERVICE_TOKEN_SECRET: "short" }, "SERVICE_TOKEN_SECRET: must have at least 32 characters"],
    [{ ORIGIN_URL: "" }, "ORIGIN_URL: is missing"],
    [{ FFMPEG_PATH: "no-such-ffmpeg" }, "no-such-ffmpeg cannot be used"],
    [{ FFPROBE_PATH: "./ffprobe" }, "FFPROBE_PATH: must be the name of a program or an absolute path"],
  ])("%o", async (env, complaint) => {
    const worker = workers.launch(env);
    expect(await worker.exited).toBe(1);
    expect(await worker.stderr).toContain(complaint);
  });
});
