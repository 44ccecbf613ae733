import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { testServers } from "@flick/dev/testing.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";

import { BadUpload } from "./bad-upload.ts";
import { boxesOf } from "./corpus/boxes.ts";
import { createFfmpeg } from "./ffmpeg.ts";
import type { Limits } from "./limits.ts";
import { createVideoProcessor } from "./process-video.ts";
import { makeClip } from "./testing.ts";
import { sine, source, startProcessing, testLimits, x264, type Processing } from "./testing-process.ts";

// Real transcodes, on a machine that does other things too.

let processing: Processing;

beforeAll(async () => {
  processing = await startProcessing();
}, 60_000);

afterAll(() => processing.stop());

describe("a bad file fails for good, with a reason for its author", () => {
  /** Asserts the verdict, that it names no path, and that nothing was stored or left behind. */
  async function expectRefusal(file: string, reason: string, changes: Partial<Limits> = {}) {
    const refusal: unknown = await processing
      .publish(file, processing.processor(changes))
      .catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(BadUpload);
    const { message } = refusal as BadUpload;
    expect(message).toContain(reason);
    expect(message).toMatch(/^[A-Z][^/\\]{1,200}\.$/);
    const videoId = [...processing.service.videos.keys()].at(-1);
    expect(await processing.store.list(`videos/${videoId}/`)).toEqual([]);
    expect(processing.jobFolders()).toEqual([]);
  }

  test("text", async () => {
    await writeFile(join(processing.dir, "text.mp4"), "This is not a video.\n".repeat(100));
    await expectRefusal("text.mp4", "not a video that we can read");
  });

  test("an empty file", async () => {
    await writeFile(join(processing.dir, "empty.mp4"), "");
    await expectRefusal("empty.mp4", "not a video that we can read");
  });

  test("a picture", async () => {
    await makeClip(processing.dir, `${source("64x64", 1)} -frames:v 1 -f image2 -c:v png picture.mp4`);
    await expectRefusal("picture.mp4", "not a video that we can read");
  });

  test.each([
    ["a playlist", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsmall.mp4\n#EXT-X-ENDLIST\n"],
    ["a list of files", "ffconcat version 1.0\nfile small.mp4\n"],
  ])("%s that names another file", async (_what, text) => {
    await writeFile(join(processing.dir, "list.mp4"), text);
    await expectRefusal("list.mp4", "not a video that we can read");
  });

  test("sound only", async () => {
    await makeClip(processing.dir, `${sine}=1 -c:a aac sound.mp4`);
    await expectRefusal("sound.mp4", "only sound");
  });

  test("sound with a cover", async () => {
    await makeClip(processing.dir, `${sine}=1 -c:a aac tune.m4a`);
    await makeClip(processing.dir, `${source("64x64", 1)} -frames:v 1 -f image2 -c:v png cover.png`);
    await makeClip(
      processing.dir,
      "-i tune.m4a -i cover.png -map 0 -map 1 -c copy -disposition:v attached_pic song.m4a",
    );
    await expectRefusal("song.m4a", "only sound");
  });

  test("subtitles only", async () => {
    await writeFile(join(processing.dir, "words.srt"), "1\n00:00:00,000 --> 00:00:01,000\nHello\n");
    await makeClip(processing.dir, "-i words.srt -c:s srt words.mkv");
    await expectRefusal("words.mkv", "There is no video in this file.");
  });

  test("a video without a single picture", async () => {
    await makeClip(
      processing.dir,
      `${source("320x240", 1)} ${x264} -movflags frag_keyframe+empty_moov -pix_fmt yuv420p fragments.mp4`,
    );
    const head =
      boxesOf(await Bun.file(join(processing.dir, "fragments.mp4")).bytes()).find(({ type }) => type === "moof")
        ?.offset ?? 0;
    await cutFile("fragments.mp4", "pictureless.mp4", head);
    await expectRefusal("pictureless.mp4", "no picture");
  });

  test("an MP4 whose index is missing", async () => {
    await makeClip(processing.dir, `${source("320x240", 4)} ${sine}=4 ${x264} -pix_fmt yuv420p -c:a aac whole.mp4`);
    await cutFile("whole.mp4", "headless.mp4", 0.6);
    await expectRefusal("headless.mp4", "incomplete");
  });

  test.each([0.3, 0.6, 0.9])("an MP4 of which only %d arrived, with its index", async (share) => {
    await makeClip(
      processing.dir,
      `${source("320x240", 4)} ${sine}=4 ${x264} -pix_fmt yuv420p -c:a aac -movflags +faststart start.mp4`,
    );
    await cutFile("start.mp4", "cut.mp4", share);
    await expectRefusal("cut.mp4", "incomplete");
  });

  test.each([0.4, 0.8])("a Matroska file of which only %d arrived", async (share) => {
    await makeClip(processing.dir, `${source("320x240", 4)} ${sine}=4 ${x264} -pix_fmt yuv420p -c:a aac whole.mkv`);
    await cutFile("whole.mkv", "cut.mkv", share);
    await expectRefusal("cut.mkv", "incomplete");
  });

  test("one that is too long", async () => {
    await makeClip(processing.dir, `${source("64x64", 4, 5)} ${x264} -pix_fmt yuv420p long.mp4`);
    await expectRefusal("long.mp4", "longer than 2 seconds", { maxDurationS: 2 });
  });

  test("one that is longer than it says", async () => {
    await makeClip(processing.dir, `${source("64x64", 8, 5)} -c:v libvpx -deadline realtime -live 1 -f webm long.webm`);
    await expectRefusal("long.webm", "longer than 2 seconds", { maxDurationS: 2 });
  });

  test("one with too many pixels", async () => {
    await makeClip(processing.dir, `${source("640x480", 1, 5)} ${x264} -pix_fmt yuv420p large.mp4`);
    await expectRefusal("large.mp4", "more than 100000 pixels", { maxPixels: 100_000 });
  });

  test("one with too many bytes", async () => {
    await expectRefusal(await processing.smallClip(), "larger than 2000 bytes", { maxInputBytes: 2_000 });
  });

  test("one that is gone", async () => {
    const refusal: unknown = await processing.processUpload("raw/nobody").catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(BadUpload);
    expect(String(refusal)).toContain("no longer there");
  });
});

describe("a fault that may pass", () => {
  test("is no verdict on the file: storage that cannot be reached", async () => {
    const { oss } = await testServers();
    const away = createObjectStore({ endpoint: "http://localhost:1", ...oss });
    const processVideo = createVideoProcessor({
      store: away,
      workDir: processing.workDir,
      ffmpeg: createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" }),
      limits: testLimits,
    });
    const fault: unknown = await processing.processUpload("raw/any", processVideo).catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(Error);
    expect(fault).not.toBeInstanceOf(BadUpload);
    expect(processing.jobFolders()).toEqual([]);
  });
});

/** @param end a share of the file, or bytes from 1 on. */
async function cutFile(from: string, to: string, end: number): Promise<void> {
  const { size } = await stat(join(processing.dir, from));
  await writeFile(
    join(processing.dir, to),
    await Bun.file(join(processing.dir, from))
      .slice(0, end < 1 ? Math.round(size * end) : end)
      .bytes(),
  );
}
