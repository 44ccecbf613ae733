import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { ImageKind } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";

import { imagesTopic, mediaGroup, videosTopic } from "./consumer.ts";
import { startJobService, until } from "./testing.ts";
import { never, startWorkers, type Workers } from "./testing-worker.ts";

// Real transcodes, on a machine that does other things too.

let workers: Workers;

beforeAll(async () => {
  workers = await startWorkers();
}, 60_000);

beforeEach(() => workers.renew());

afterEach(() => workers.killAll());

afterAll(() => workers.stop());

describe("finding work", () => {
  test("an event makes a video ready, and the log tells the story without its id", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = workers.service.add(workers.clips.short);
    await workers.publishChange(videoId);
    await until(() => workers.status(videoId) === "ready", "the video");
    await worker.logged("job ready");
    const [taken, ready] = worker.lines.filter(({ message }) => String(message).startsWith("job "));
    expect(taken).toMatchObject({ message: "job taken", attempt: 1, video: expect.stringMatching(/^[0-9a-f]{12}$/) });
    expect(ready).toMatchObject({ message: "job ready", video: taken?.["video"], width: 160, height: 120 });
    for (const name of ["fetchMs", "transcodeMs", "storeMs", "totalMs"]) expect(ready?.[name]).toBeNumber();
    expect(JSON.stringify(worker.lines)).not.toContain(String(videoId));
    await until(async () => (await workers.events.lag(videosTopic, mediaGroup)) === 0, "the acknowledgement");
  });

  test("the sweep finds a video whose event was lost", async () => {
    const videoId = workers.service.add(workers.clips.short);
    await workers.startWorker({ SWEEP_INTERVAL_MS: "200" });
    await until(() => workers.status(videoId) === "ready", "the video");
  });

  test("an event makes a picture for a profile ready, and the log tells neither its id nor its user's", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const userId = 299_999_999_999_999n;
    const imageId = workers.service.addImage(await workers.upload("picture.png"), userId, ImageKind.AVATAR);
    const badId = workers.service.addImage(await workers.upload("bad.mp4"), userId, ImageKind.BACKGROUND);
    for (const id of [imageId, badId]) await workers.publishChange(id, {}, imagesTopic);
    await until(() => workers.service.images.get(imageId)?.status === "ready", "the picture");
    await until(() => workers.service.images.get(badId)?.status === "failed", "the verdict");
    expect(workers.service.images.get(imageId)?.completed).toMatchObject([
      { imageKey: `users/${userId}/${imageId}-avatar.jpg` },
    ]);
    await worker.logged("job ready");
    await worker.logged("job failed");
    const ready = worker.lines.find(({ message }) => message === "job ready");
    expect(ready).toMatchObject({ image: expect.stringMatching(/^[0-9a-f]{12}$/), shape: "avatar", width: 120 });
    for (const id of [imageId, badId, userId]) expect(JSON.stringify(worker.lines)).not.toContain(String(id));
  });

  test("the sweep finds a picture whose event was lost", async () => {
    const imageId = workers.service.addImage(await workers.upload("picture.png"), 7n, ImageKind.BACKGROUND);
    await workers.startWorker({ SWEEP_INTERVAL_MS: "200" });
    await until(() => workers.service.images.get(imageId)?.status === "ready", "the picture");
  });

  test("takes videos from one service and pictures from another, where the user service has an address of its own", async () => {
    const userService = startJobService({ leaseMs: 3_000 });
    try {
      const videoId = workers.service.add(workers.clips.short);
      const imageId = userService.addImage(await workers.upload("picture.png"), 7n, ImageKind.AVATAR);
      await workers.startWorker({ SWEEP_INTERVAL_MS: "200", USER_SERVICE_URL: userService.url });
      await until(() => userService.images.get(imageId)?.status === "ready", "the picture");
      await until(() => workers.status(videoId) === "ready", "the video");
    } finally {
      await userService.stop();
    }
  });

  test("changes that make nothing due, and poison, are passed over", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const videoId = workers.service.add(workers.clips.short);
    workers.video(videoId).dueAt = Date.now() + 600_000;
    await workers.publishChange(videoId, { status: "processing" });
    await workers.publishChange(videoId, { job_due_at: Date.now() + 60_000 });
    await workers.publishChange(videoId, null);
    await workers.events.publish([{ topic: videosTopic, key: "poison", value: "{" }]);
    const other = workers.service.add(workers.clips.short);
    await workers.publishChange(other);
    await until(() => workers.status(other) === "ready", "the other video");
    expect(workers.service.claims).toEqual([other]);
    await worker.logged("event failed");
  });

  test("events and sweeps for one video do its work once", async () => {
    await workers.startWorker({ SWEEP_INTERVAL_MS: "100", CONCURRENCY: "2" });
    const videoId = workers.service.add(workers.clips.slow);
    await workers.publishChange(videoId);
    await workers.publishChange(videoId);
    await until(() => workers.status(videoId) === "ready", "the video");
    expect(workers.video(videoId)).toMatchObject({ attempts: 1, failed: [] });
  });

  test("a job is taken in the order that its service gives, whichever event woke the worker", async () => {
    await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const [first, second] = [workers.service.add(workers.clips.short), workers.service.add(workers.clips.short)];
    await workers.publishChange(second);
    await until(() => workers.status(first) === "ready", "the first");
    expect(workers.status(second)).toBe("uploaded");
    await workers.publishChange(first);
    await until(() => workers.status(second) === "ready", "the second");
  });

  test("an upload that is not what was announced fails for good; what was measured is told", async () => {
    await workers.startWorker({ SWEEP_INTERVAL_MS: never });
    const sha256 = new Bun.CryptoHasher("sha256")
      .update(await Bun.file(join(workers.dir, "short.mp4")).bytes())
      .digest("hex");
    const [right, wrong] = [workers.service.add(workers.clips.short), workers.service.add(workers.clips.short)];
    workers.video(right).sha256 = sha256;
    workers.video(wrong).sha256 = "0".repeat(64);
    for (const videoId of [right, wrong]) await workers.publishChange(videoId);
    await until(() => workers.status(right) === "ready" && workers.status(wrong) === "failed", "both");
    expect(workers.video(right).completed).toMatchObject([{ sha256 }]);
    expect(workers.video(wrong).failed).toMatchObject([
      { permanent: true, reason: expect.stringContaining("announced") },
    ]);
  });

  test("a sweep that finds nothing asks once, however many jobs could be done at once", async () => {
    const before = workers.service.sweeps();
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: never, CONCURRENCY: "8" });
    expect(await worker.stop()).toBe(0);
    expect(workers.service.sweeps() - before).toBe(1);
  });

  test("a job for which the disk is too small is tried again", async () => {
    const worker = await workers.startWorker({ SWEEP_INTERVAL_MS: "100", DISK_BUDGET_BYTES: "1048576" });
    const large = join(workers.dir, "large.mp4");
    await Bun.write(large, new Uint8Array(500_000));
    const videoId = workers.service.add(await workers.upload("large.mp4"));
    await until(() => workers.video(videoId).attempts > 1, "the second attempt");
    expect(workers.video(videoId).failed[0]).toMatchObject({ permanent: false, interrupted: false });
    await worker.logged("job failed");
    expect(JSON.stringify(worker.lines)).toContain("DISK_BUDGET_BYTES is 1048576");
  });

  test("the lease is renewed as long as the work takes", async () => {
    await workers.renew({ leaseMs: 1_500 });
    const { videoId } = await workers.startStuckJob({ SWEEP_INTERVAL_MS: "100", CONCURRENCY: "2" });
    await until(() => workers.video(videoId).renewals >= 5, "five renewals");
    expect(workers.video(videoId)).toMatchObject({ status: "processing", attempts: 1 });
  });

  test("two workers share six videos, and complete each of them once", async () => {
    const both = await Promise.all([
      workers.startWorker({ SWEEP_INTERVAL_MS: "300" }),
      workers.startWorker({ SWEEP_INTERVAL_MS: "300" }),
    ]);
    const videoIds = Array.from({ length: 6 }, () => workers.service.add(workers.clips.short));
    await Promise.all(videoIds.map((videoId) => workers.publishChange(videoId)));
    await until(() => videoIds.every((videoId) => workers.status(videoId) === "ready"), "six videos", 30_000);
    for (const videoId of videoIds) {
      expect(workers.video(videoId)).toMatchObject({ attempts: 1, failed: [] });
      expect(workers.video(videoId).completed).toHaveLength(1);
    }
    for (const worker of both) await worker.logged("job ready");
  });
});
