import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, open, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { createClient } from "@connectrpc/connect";
import { testServers } from "@flick/dev/testing.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { MediaJobService, type Job } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { BadUpload } from "./bad-upload.ts";
import { claimJob, type JobService } from "./claim.ts";
import { createFfmpeg } from "./ffmpeg.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import { createVideoProcessor, type MadeVideo, type ProcessVideo } from "./process-video.ts";
import { inspect, luminance, makeClip, startJobService, testServiceSecret, type TestJobService } from "./testing.ts";
import { createWorkDir, type WorkDir } from "./work-dir.ts";

const limits: Limits = { ...defaultLimits, maxInputBytes: 50_000_000 };
const bear = join(import.meta.dir, "../../shared/media/bear.mp4");

// Real transcodes, on a machine that does other things too.

let dir: string;
let service: TestJobService;
let jobs: JobService<Job, MadeVideo>;
let store: ObjectStore;
let workDir: WorkDir;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-process-"));
  service = startJobService({ leaseMs: 30_000 });
  const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
  jobs = createClient(
    MediaJobService,
    createServiceTransport({ baseUrl: service.url, serviceToken, timeoutMs: 5_000 }),
  );
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
  return processUpload(await upload(file), processVideo, signal);
}

async function upload(file: string): Promise<string> {
  const rawKey = `raw/${crypto.randomUUID()}`;
  await store.put(rawKey, resolve(dir, file), { contentType: "video/mp4" });
  return rawKey;
}

async function processUpload(rawKey: string, processVideo = processor(), signal?: AbortSignal) {
  return process(service.add(rawKey), processVideo, signal);
}

async function process(videoId: bigint, processVideo = processor(), signal?: AbortSignal) {
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
  expect(completed.playKey).toMatch(new RegExp(`^videos/${videoId}/1/\\d+\\.mp4$`));
  expect(completed.coverKey).toMatch(new RegExp(`^videos/${videoId}/1/cover-\\d+\\.jpg$`));
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
    expect(completed.renditions.map(({ width, height }) => [width, height])).toEqual([
      [540, 960],
      [720, 1280],
      [1080, 1920],
    ]);
    const keyframes = packets.filter((packet) => packet.codec_type === "video" && packet.flags.startsWith("K"));
    expect(keyframes.map((packet) => Number(packet.pts_time))).toContain(2);
    const { streams: pictures } = await inspect(dir, cover);
    expect(pictures).toMatchObject([{ codec_name: "mjpeg", width: 720, height: 1280 }]);
  });

  test("a small landscape one, never enlarged, in Matroska with other codecs", async () => {
    await makeClip(
      dir,
      `${source("320x180", 1)} ${sine}=1 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus small.mkv`,
    );
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
    expect((await transcode("wide.mp4")).video).toMatchObject({ width: 540, height: 242, sample_aspect_ratio: "1:1" });
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

  test("one that changes its size in the middle, as a phone does that is turned", async () => {
    const vp8 = "-c:v libvpx -deadline realtime";
    await makeClip(dir, `${source("320x240", 1)} ${vp8} across.webm`);
    await makeClip(dir, `${source("240x320", 1)} ${vp8} upright.webm`);
    await writeFile(join(dir, "turned.txt"), "file across.webm\nfile upright.webm\n");
    await makeClip(dir, "-f concat -i turned.txt -c copy turned.webm");
    const { video, completed, cover } = await transcode("turned.webm");
    expect(video).toMatchObject({ width: 320, height: 240 });
    expect(Number(completed.durationMs)).toBeWithin(1_900, 2_200);
    expect(await luminance(dir, cover)).toBeGreaterThan(60);
  });

  test("one that was trimmed by an edit list", async () => {
    await makeClip(dir, `${source("320x240", 4)} ${sine}=4 ${x264} -g 120 -pix_fmt yuv420p -c:a aac untrimmed.mp4`);
    await makeClip(dir, "-ss 1.5 -i untrimmed.mp4 -c copy trimmed.mp4");
    const { completed } = await transcode("trimmed.mp4");
    expect(Number(completed.durationMs)).toBeWithin(2_300, 2_800);
  });

  test.if(existsSync(bear))("the bear", async () => {
    const { completed, video, audio } = await transcode(bear);
    expect([video?.["codec_name"], audio?.["codec_name"]]).toEqual(["h264", "aac"]);
    expect(completed).toMatchObject({ width: 320, height: 240 });
    expect(Number(completed.durationMs)).toBeWithin(12_500, 12_800);
  });
});

describe("the cover", () => {
  test("of a video whose first two seconds are black shows something", async () => {
    const black = "-f lavfi -i color=black:size=320x240:rate=30:duration=2";
    await makeClip(
      dir,
      `${black} ${source("320x240", 2)} -filter_complex [0:v][1:v]concat=n=2:v=1 ${x264} -pix_fmt yuv420p black.mp4`,
    );
    const { cover, play } = await transcode("black.mp4");
    expect(await luminance(dir, cover)).toBeGreaterThan(60);
    await makeClip(dir, `-i ${play} -frames:v 1 first.jpg`);
    expect(await luminance(dir, "first.jpg")).toBeLessThan(20);
  });

  test("of a video that is black all through is there", async () => {
    await makeClip(dir, `-f lavfi -i color=black:size=64x64:rate=30:duration=1 ${x264} dark.mp4`);
    expect(await luminance(dir, (await transcode("dark.mp4")).cover)).toBeLessThan(20);
  });
});

test("nothing of what the file tells about its maker is published", async () => {
  await writeFile(join(dir, "chapters.txt"), ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=home\n");
  const tags = "-metadata location=+52.5163+013.3777/ -metadata title=holiday -movflags use_metadata_tags";
  await makeClip(
    dir,
    `${source("64x64", 1)} -i chapters.txt -map_metadata 1 ${tags} ${x264} -pix_fmt yuv420p told.mp4`,
  );
  expect(JSON.stringify(await inspect(dir, "told.mp4"))).toContain("52.5163");
  const { play, chapters } = await transcode("told.mp4");
  const bytes = await Bun.file(join(dir, play)).text();
  for (const word of ["52.5163", "holiday", "home"]) expect(bytes).not.toContain(word);
  expect(chapters).toEqual([]);
});

describe("everything that is stored", () => {
  test("is public, may be kept for ever, and says what it is", async () => {
    const { completed } = await transcode(await smallClip());
    const types: [key: string, type: string][] = [
      [completed.playKey, "video/mp4"],
      [completed.hlsKey, "application/vnd.apple.mpegurl"],
      [completed.previewKey, "image/webp"],
      [completed.coverKey, "image/jpeg"],
      ...completed.renditions.map(({ url }): [string, string] => [url, "video/mp4"]),
      ...completed.covers.map(({ url, type }): [string, string] => [url, type]),
    ];
    for (const [key, type] of types) {
      const response = await fetch(store.publicUrl(key), { method: "HEAD" });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe(type);
      expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    }
    expect(completed.covers.map(({ type }) => type).toSorted()).toEqual(["image/jpeg", "image/webp"]);
    expect(Buffer.from(completed.thumbhash, "base64").length).toBeWithin(5, 26);
  });

  test("lies under the number of its attempt, and what former attempts left there is removed", async () => {
    const rawKey = await upload(await smallClip());
    const videoId = service.add(rawKey);
    const left = `videos/${videoId}/0/1080.mp4`;
    await store.put(left, join(dir, await smallClip()), { contentType: "video/mp4" });
    await process(videoId);
    const keys = (await store.list(`videos/${videoId}/`)).map(({ key }) => key);
    expect(keys).not.toContain(left);
    expect(keys.every((key) => key.startsWith(`videos/${videoId}/1/`))).toBe(true);
    expect(keys.map((key) => key.split("/").at(-1))).toEqual([
      "160.mp4",
      "cover-160.jpg",
      "cover-160.webp",
      "hls-160.m3u8",
      "hls-160.mp4",
      "hls-sound.m3u8",
      "hls-sound.mp4",
      "hls.m3u8",
      "preview.webp",
    ]);
  });
});

test("its service is told how far the work is", async () => {
  await makeClip(dir, `${source("720x1280", 6)} ${x264} -pix_fmt yuv420p longer.mp4`);
  const { video } = await publish("longer.mp4");
  expect(video.percents.length).toBeGreaterThan(1);
  expect(video.percents).toEqual(video.percents.toSorted((a, b) => a - b));
  expect(video.percents.at(-1)).toBe(92);
});

describe("a bad file fails for good, with a reason for its author", () => {
  /** Asserts the verdict, that it names no path, and that nothing was stored or left behind. */
  async function expectRefusal(file: string, reason: string, changes: Partial<Limits> = {}) {
    const refusal: unknown = await publish(file, processor(changes)).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(BadUpload);
    const { message } = refusal as BadUpload;
    expect(message).toContain(reason);
    expect(message).toMatch(/^[A-Z][^/\\]{1,200}\.$/);
    const videoId = [...service.videos.keys()].at(-1);
    expect(await store.list(`videos/${videoId}/`)).toEqual([]);
    expect(jobFolders()).toEqual([]);
  }

  test("text", async () => {
    await writeFile(join(dir, "text.mp4"), "This is not a video.\n".repeat(100));
    await expectRefusal("text.mp4", "not a video that we can read");
  });

  test("an empty file", async () => {
    await writeFile(join(dir, "empty.mp4"), "");
    await expectRefusal("empty.mp4", "not a video that we can read");
  });

  test("a picture", async () => {
    await makeClip(dir, `${source("64x64", 1)} -frames:v 1 -f image2 -c:v png picture.mp4`);
    await expectRefusal("picture.mp4", "not a video that we can read");
  });

  test.each([
    ["a playlist", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsmall.mp4\n#EXT-X-ENDLIST\n"],
    ["a list of files", "ffconcat version 1.0\nfile small.mp4\n"],
  ])("%s that names another file", async (_what, text) => {
    await writeFile(join(dir, "list.mp4"), text);
    await expectRefusal("list.mp4", "not a video that we can read");
  });

  test("sound only", async () => {
    await makeClip(dir, `${sine}=1 -c:a aac sound.mp4`);
    await expectRefusal("sound.mp4", "only sound");
  });

  test("sound with a cover", async () => {
    await makeClip(dir, `${sine}=1 -c:a aac tune.m4a`);
    await makeClip(dir, `${source("64x64", 1)} -frames:v 1 -f image2 -c:v png cover.png`);
    await makeClip(dir, "-i tune.m4a -i cover.png -map 0 -map 1 -c copy -disposition:v attached_pic song.m4a");
    await expectRefusal("song.m4a", "only sound");
  });

  test("subtitles only", async () => {
    await writeFile(join(dir, "words.srt"), "1\n00:00:00,000 --> 00:00:01,000\nHello\n");
    await makeClip(dir, "-i words.srt -c:s srt words.mkv");
    await expectRefusal("words.mkv", "There is no video in this file.");
  });

  test("a video without a single picture", async () => {
    await makeClip(
      dir,
      `${source("320x240", 1)} ${x264} -movflags frag_keyframe+empty_moov -pix_fmt yuv420p fragments.mp4`,
    );
    const head = (await boxOffsets("fragments.mp4")).find(({ type }) => type === "moof")?.offset ?? 0;
    await cutFile("fragments.mp4", "pictureless.mp4", head);
    await expectRefusal("pictureless.mp4", "no picture");
  });

  test("an MP4 whose index is missing", async () => {
    await makeClip(dir, `${source("320x240", 4)} ${sine}=4 ${x264} -pix_fmt yuv420p -c:a aac whole.mp4`);
    await cutFile("whole.mp4", "headless.mp4", 0.6);
    await expectRefusal("headless.mp4", "incomplete");
  });

  test.each([0.3, 0.6, 0.9])("an MP4 of which only %d arrived, with its index", async (share) => {
    await makeClip(
      dir,
      `${source("320x240", 4)} ${sine}=4 ${x264} -pix_fmt yuv420p -c:a aac -movflags +faststart start.mp4`,
    );
    await cutFile("start.mp4", "cut.mp4", share);
    await expectRefusal("cut.mp4", "incomplete");
  });

  test.each([0.4, 0.8])("a Matroska file of which only %d arrived", async (share) => {
    await makeClip(dir, `${source("320x240", 4)} ${sine}=4 ${x264} -pix_fmt yuv420p -c:a aac whole.mkv`);
    await cutFile("whole.mkv", "cut.mkv", share);
    await expectRefusal("cut.mkv", "incomplete");
  });

  test("one that is too long", async () => {
    await makeClip(dir, `${source("64x64", 4, 5)} ${x264} -pix_fmt yuv420p long.mp4`);
    await expectRefusal("long.mp4", "longer than 2 seconds", { maxDurationS: 2 });
  });

  test("one that is longer than it says", async () => {
    await makeClip(dir, `${source("64x64", 8, 5)} -c:v libvpx -deadline realtime -live 1 -f webm long.webm`);
    await expectRefusal("long.webm", "longer than 2 seconds", { maxDurationS: 2 });
  });

  test("one with too many pixels", async () => {
    await makeClip(dir, `${source("640x480", 1, 5)} ${x264} -pix_fmt yuv420p large.mp4`);
    await expectRefusal("large.mp4", "more than 100000 pixels", { maxPixels: 100_000 });
  });

  test("one with too many bytes", async () => {
    await expectRefusal(await smallClip(), "larger than 2000 bytes", { maxInputBytes: 2_000 });
  });

  test("one that is gone", async () => {
    const refusal: unknown = await processUpload("raw/nobody").catch((error: unknown) => error);
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
      workDir,
      ffmpeg: createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" }),
      limits,
    });
    const fault: unknown = await processUpload("raw/any", processVideo).catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(Error);
    expect(fault).not.toBeInstanceOf(BadUpload);
    expect(jobFolders()).toEqual([]);
  });
});

test("an abort ends it at once and leaves nothing behind", async () => {
  await makeClip(dir, `${source("1280x720", 30)} ${x264} -pix_fmt yuv420p slow.mp4`);
  const abort = new AbortController();
  const done = publish("slow.mp4", processor(), abort.signal).then(
    () => "done",
    (error: unknown) => String(error),
  );
  await Bun.sleep(1_500);
  expect(jobFolders()).toHaveLength(1);
  const abortedAt = performance.now();
  abort.abort(new Error("enough"));
  expect(await done).toBe("Error: enough");
  expect(performance.now() - abortedAt).toBeLessThan(1_000);
  expect(jobFolders()).toEqual([]);
});

test("a worker that lost its claim stores nothing", async () => {
  const rawKey = `raw/${crypto.randomUUID()}`;
  await store.put(rawKey, join(dir, await smallClip()), { contentType: "video/mp4" });
  const videoId = service.add(rawKey);
  const claim = await claimJob(jobs, videoId);
  if (!claim) throw new Error("there was nothing to claim");
  service.steal(videoId);
  await expect(processor()(claim, claim.signal)).rejects.toThrow("somebody else has the job");
  claim.drop();
  expect(await store.list(`videos/${videoId}/`)).toEqual([]);
});

/** Folders of jobs that are in the work folder now. */
function jobFolders(): string[] {
  return readdirSync(join(dir, "work"), { recursive: true, encoding: "utf8" }).filter((name) =>
    /job-[^/]*$/.test(name),
  );
}

async function smallClip(): Promise<string> {
  if (!existsSync(join(dir, "small.mp4"))) {
    await makeClip(dir, `${source("160x120", 1)} ${sine}=1 ${x264} -pix_fmt yuv420p -c:a aac small.mp4`);
  }
  return "small.mp4";
}

/** @param end a share of the file, or bytes from 1 on. */
async function cutFile(from: string, to: string, end: number): Promise<void> {
  const { size } = await stat(join(dir, from));
  await writeFile(
    join(dir, to),
    await Bun.file(join(dir, from))
      .slice(0, end < 1 ? Math.round(size * end) : end)
      .bytes(),
  );
}

async function boxes(file: string): Promise<string[]> {
  return (await boxOffsets(file)).map(({ type }) => type);
}

/** Top-level boxes of an MP4: 32-bit size, then type (ISO 14496-12, 4.2). */
async function boxOffsets(file: string): Promise<{ type: string; offset: number }[]> {
  const found: { type: string; offset: number }[] = [];
  const handle = await open(join(dir, file));
  try {
    const { size } = await handle.stat();
    const head = Buffer.alloc(8);
    for (let offset = 0; offset < size; offset += head.readUInt32BE(0)) {
      await handle.read(head, 0, 8, offset);
      found.push({ type: head.toString("latin1", 4, 8), offset });
    }
  } finally {
    await handle.close();
  }
  return found;
}
