import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, open, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient } from "@connectrpc/connect";
import { testServers } from "@flick/dev/testing.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { MediaJobService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { BadVideo } from "./bad-video.ts";
import { claimJob, type MediaJobs } from "./claim.ts";
import { createFfmpeg } from "./ffmpeg.ts";
import type { Limits } from "./plan.ts";
import { createVideoProcessor, type ProcessVideo } from "./process-video.ts";
import { inspect, luminance, makeClip, startJobService, testServiceSecret, type TestJobService } from "./testing.ts";
import { createWorkDir, type WorkDir } from "./work-dir.ts";

const limits: Limits = { maxInputBytes: 50_000_000, maxDurationS: 600, maxPixels: 4096 * 4096 };
const bear = join(import.meta.dir, "../../shared/media/bear.mp4");

let dir: string;
let service: TestJobService;
let jobs: MediaJobs;
let store: ObjectStore;
let workDir: WorkDir;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-process-"));
  service = startJobService({ leaseMs: 30_000 });
  const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
  jobs = createClient(MediaJobService, createServiceTransport({ baseUrl: service.url, serviceToken, timeoutMs: 5_000 }));
  const { ossUrl, oss } = await testServers();
  store = createObjectStore({ endpoint: ossUrl, ...oss });
  workDir = await createWorkDir(join(dir, "work"));
}, 60_000);

afterAll(async () => {
  await workDir.close();
  await service.stop();
  await rm(dir, { recursive: true });
});

const processor = (changes: Partial<Limits> = {}): ProcessVideo =>
  createVideoProcessor({
    store,
    workDir,
    ffmpeg: createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" }),
    limits: { ...limits, ...changes },
  });

/** Uploads a file and has a worker process it. */
async function publish(file: string, processVideo = processor(), signal?: AbortSignal) {
  const rawKey = `raw/${crypto.randomUUID()}`;
  await store.put(rawKey, join(dir, file), { contentType: "video/mp4" });
  return processUpload(rawKey, processVideo, signal);
}

async function processUpload(rawKey: string, processVideo = processor(), signal?: AbortSignal) {
  const videoId = service.add(rawKey);
  const claim = await claimJob(jobs, videoId);
  if (!claim) throw new Error("there was nothing to claim");
  try {
    await processVideo(claim, signal ?? claim.signal);
  } finally {
    claim.drop();
  }
  const video = service.videos.get(videoId);
  if (!video) throw new Error("the video is gone");
  return { videoId, video };
}

/** Publishes a clip and downloads what became of it. */
async function transcode(file: string, processVideo = processor()) {
  const { videoId, video } = await publish(file, processVideo);
  const [completed] = video.completed;
  if (!completed) throw new Error("it was not completed");
  expect(completed.playKey).toBe(`videos/${videoId}/play.mp4`);
  expect(completed.coverKey).toBe(`videos/${videoId}/cover.jpg`);
  const [play, cover] = [`${videoId}.mp4`, `${videoId}.jpg`];
  await store.getFile(completed.playKey, join(dir, play), { maxBytes: 1e9 });
  await store.getFile(completed.coverKey, join(dir, cover), { maxBytes: 1e8 });
  const found = await inspect(dir, play);
  const stream = (type: string) => found.streams.find(({ codec_type }) => codec_type === type);
  return { ...found, completed, play, cover, video: stream("video"), audio: stream("audio") };
}

const sine = "-f lavfi -i sine=frequency=440:duration";
const x264 = "-c:v libx264 -preset ultrafast";
const source = (size: string, seconds: number, rate = 30) =>
  `-f lavfi -i testsrc2=size=${size}:rate=${rate}:duration=${seconds}`;

describe("a good video becomes H.264 and AAC in a faststart MP4", () => {
  test("a portrait one, scaled to the width", async () => {
    await makeClip(dir, `${source("1080x1920", 3)} ${sine}=3 ${x264} -pix_fmt yuv420p -c:a aac portrait.mp4`);
    const { video, audio, completed, play, cover, packets, streams } = await transcode("portrait.mp4");
    expect(video).toMatchObject({ codec_name: "h264", profile: "High", pix_fmt: "yuv420p", width: 720, height: 1280 });
    expect(video).toMatchObject({ sample_aspect_ratio: "1:1" });
    expect(audio).toMatchObject({ codec_name: "aac", profile: "LC", sample_rate: "48000", channels: 2 });
    expect(streams).toHaveLength(2);
    expect(completed).toMatchObject({ width: 720, height: 1280 });
    expect(Number(completed.durationMs)).toBeWithin(2_950, 3_100);

    expect(await boxes(play)).toEqual(["ftyp", "moov", "free", "mdat"]);
    const keyframes = packets.filter((packet) => packet.codec_type === "video" && packet.flags.startsWith("K"));
    expect(keyframes.map((packet) => Number(packet.pts_time))).toContain(2);
    const { streams: pictures } = await inspect(dir, cover);
    expect(pictures).toMatchObject([{ codec_name: "mjpeg", width: 720, height: 1280 }]);
  });

  test("a small landscape one, never enlarged, in Matroska with other codecs", async () => {
    await makeClip(dir, `${source("320x180", 1)} ${sine}=1 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus small.mkv`);
    const { video, audio } = await transcode("small.mkv");
    expect(video).toMatchObject({ codec_name: "h264", width: 320, height: 180 });
    expect(audio).toMatchObject({ codec_name: "aac" });
  });

  test("one that lies on its side, upright", async () => {
    await makeClip(dir, `${source("640x360", 1)} ${x264} -pix_fmt yuv420p flat.mp4`);
    await makeClip(dir, "-i flat.mp4 -c copy -metadata:s:v rotate=90 rotated.mp4");
    const { video, cover } = await transcode("rotated.mp4");
    expect(video).toMatchObject({ width: 360, height: 640 });
    expect(JSON.stringify(video)).not.toContain("otation");
    expect((await inspect(dir, cover)).streams).toMatchObject([{ width: 360, height: 640 }]);
  });

  test("one of odd size without sound", async () => {
    await makeClip(dir, `${source("321x241", 1)} ${x264} -pix_fmt yuv444p odd.mp4`);
    const { video, audio } = await transcode("odd.mp4");
    expect(video).toMatchObject({ width: 320, height: 240, pix_fmt: "yuv420p" });
    expect(audio).toBeUndefined();
  });

  test("one with wide pixels, at its size on the screen", async () => {
    await makeClip(dir, `${source("360x288", 1)} -vf setsar=16/9 ${x264} -pix_fmt yuv420p wide.mp4`);
    expect((await transcode("wide.mp4")).video).toMatchObject({ width: 640, height: 288, sample_aspect_ratio: "1:1" });
  });

  test("one with 10 bits in 4:2:2", async () => {
    await makeClip(dir, `${source("320x240", 1)} ${x264} -pix_fmt yuv422p10le deep.mp4`);
    expect((await transcode("deep.mp4")).video).toMatchObject({ profile: "High", pix_fmt: "yuv420p" });
  });

  test("one with 120 pictures a second, at 60", async () => {
    await makeClip(dir, `${source("320x240", 2, 120)} ${x264} -pix_fmt yuv420p fast.mp4`);
    const { video, packets } = await transcode("fast.mp4");
    expect(video).toMatchObject({ r_frame_rate: "60/1" });
    expect(packets.length).toBeWithin(118, 123);
  });

  test("one with a single picture", async () => {
    await makeClip(dir, `${source("320x240", 1)} -frames:v 1 ${x264} -pix_fmt yuv420p one.mp4`);
    const { packets, completed, cover } = await transcode("one.mp4");
    expect(packets).toHaveLength(1);
    expect(Number(completed.durationMs)).toBeGreaterThan(0);
    expect(await luminance(dir, cover)).toBeGreaterThan(40);
  });

  test("a streamed recording that does not tell its duration", async () => {
    await makeClip(dir, `${source("320x240", 2)} -c:v libvpx -deadline realtime -live 1 -f webm live.webm`);
    const { completed } = await transcode("live.webm");
    expect(Number(completed.durationMs)).toBeWithin(1_900, 2_200);
  });

  test("one that was trimmed by an edit list", async () => {
    await makeClip(dir, `${source("320x240", 4)} ${sine}=4 ${x264} -g 120 -pix_fmt yuv420p -c:a aac untrimmed.mp4`);
    await makeClip(dir, "-ss 1.5 -i untrimmed.mp4 -c copy trimmed.mp4");
    const { completed } = await transcode("trimmed.mp4");
    expect(Number(completed.durationMs)).toBeWithin(2_300, 2_800);
  });

  test.if(existsSync(bear))("the bear", async () => {
    const { completed, video, audio } = await transcode("../".repeat(8) + bear.slice(1));
    expect([video?.["codec_name"], audio?.["codec_name"]]).toEqual(["h264", "aac"]);
    expect(completed).toMatchObject({ width: 320, height: 240 });
    expect(Number(completed.durationMs)).toBeWithin(12_500, 12_800);
  });
});
