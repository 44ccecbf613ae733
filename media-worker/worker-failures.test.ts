import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";

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

describe("when things fail", () => {
  test("kill -9 in the middle leaves no FFmpeg, and a new worker finishes the video, once", async () => {
    const first = await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = workers.service.add(workers.clips.slow);
    await workers.publishChange(videoId);
    await until(() => ffmpegsOf(first.workDir).length > 0, "FFmpeg at work");
    await first.kill();
    await until(() => ffmpegsOf(first.workDir).length === 0, "the end of FFmpeg", 1_000);
    expect(workers.video(videoId)).toMatchObject({ status: "processing", attempts: 1 });
    expect(readdirSync(first.workDir)).toHaveLength(1);

    const second = await workers.startWorker({ SWEEP_INTERVAL_MS: "300", WORK_DIR: first.workDir });
    await until(() => workers.status(videoId) === "ready", "the video");
    expect(workers.video(videoId)).toMatchObject({ attempts: 2, failed: [] });
    expect(workers.video(videoId).completed).toHaveLength(1);
    expect(await second.stop()).toBe(0);
    expect(readdirSync(first.workDir)).toEqual([]);
  });

  test("kill -9 also ends a program that reads and writes nothing", async () => {
    const { worker } = await workers.startStuckJob();
    await worker.kill();
    await until(() => ffmpegsOf(worker.workDir).length === 0, "its end", 1_000);
  });

  test("a worker that loses its claim kills what it runs and changes nothing", async () => {
    const { worker, videoId } = await workers.startStuckJob();
    workers.service.steal(videoId);
    await worker.logged("job lost");
    expect(ffmpegsOf(worker.workDir)).toEqual([]);
    expect(workers.video(videoId)).toMatchObject({ status: "processing", completed: [], failed: [] });
    expect(await workers.store.head(`videos/${videoId}/play.mp4`)).toBeNull();
  });

  test("an event is delivered again while the video service is away", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = workers.service.add(workers.clips.short);
    await workers.service.stop();
    await workers.publishChange(videoId);
    await worker.logged("event failed");
    workers.service.start();
    await until(() => workers.status(videoId) === "ready", "the video");
  });

  test("the end of a job reaches a service that was away for a while", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = workers.service.add(workers.clips.short);
    await workers.publishChange(videoId);
    await worker.logged("job taken");
    await workers.service.stop();
    await Bun.sleep(1_500);
    workers.service.start();
    await until(() => workers.status(videoId) === "ready", "the video");
    expect(workers.video(videoId).attempts).toBe(1);
  });

  test("a bad file fails for good, at the first attempt, with a reason", async () => {
    await workers.startWorker({ SWEEP_INTERVAL_MS: "100" });
    const videoId = workers.service.add(await workers.upload("bad.mp4"));
    await until(() => workers.status(videoId) === "failed", "the verdict");
    expect(workers.video(videoId)).toMatchObject({ attempts: 1, failed: [{ permanent: true }] });
    expect(workers.video(videoId).failed[0]?.reason).toStartWith("This file is not a video");
  });

  test("storage that is away only ends the attempt, and the next one comes", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: "100", OSS_URL: "http://localhost:1" });
    const videoId = workers.service.add(workers.clips.short);
    await until(() => workers.video(videoId).attempts > 1, "the second attempt");
    expect(workers.video(videoId).failed[0]).toMatchObject({ permanent: false });
    expect(workers.video(videoId).failed[0]?.reason).not.toContain("localhost");
    expect(JSON.stringify(worker.lines)).not.toContain(String(videoId));
  });
});
