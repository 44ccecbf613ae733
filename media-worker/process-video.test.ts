import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { isRunning } from "@flick/dev/processes.ts";
import { pauseFfmpeg } from "@flick/dev/testing-ffmpeg.ts";

import { claimJob } from "./claim.ts";
import { boxesOf } from "./corpus/boxes.ts";
import { inspect, luminance, makeClip } from "./testing.ts";
import { sine, source, startProcessing, x264, type Processing } from "./testing-process.ts";

// Real transcodes, on a machine that does other things too.

let processing: Processing;

beforeAll(async () => {
  processing = await startProcessing();
}, 60_000);

afterAll(() => processing.stop());

describe("a good video becomes H.264 and AAC in a faststart MP4", () => {
  test("a portrait one, scaled to the width", async () => {
    await makeClip(
      processing.dir,
      `${source("1080x1920", 3)} ${sine}=3 ${x264} -pix_fmt yuv420p -c:a aac portrait.mp4`,
    );
    const { video, audio, completed, play, cover, packets, streams } = await processing.transcode("portrait.mp4");
    expect(video).toMatchObject({ codec_name: "h264", profile: "High", pix_fmt: "yuv420p", width: 720, height: 1280 });
    expect(video).toMatchObject({ sample_aspect_ratio: "1:1" });
    expect(audio).toMatchObject({ codec_name: "aac", profile: "LC", sample_rate: "48000", channels: 2 });
    expect(streams).toHaveLength(2);
    expect(completed).toMatchObject({ width: 720, height: 1280 });
    expect(Number(completed.durationMs)).toBeWithin(2_950, 3_100);

    expect(boxesOf(await Bun.file(join(processing.dir, play)).bytes()).map(({ type }) => type)).toEqual([
      "ftyp",
      "moov",
      "free",
      "mdat",
    ]);
    expect(completed.renditions.map(({ width, height }) => [width, height])).toEqual([
      [540, 960],
      [720, 1280],
      [1080, 1920],
    ]);
    const keyframes = packets.filter((packet) => packet.codec_type === "video" && packet.flags.startsWith("K"));
    expect(keyframes.map((packet) => Number(packet.pts_time))).toContain(2);
    const { streams: pictures } = await inspect(processing.dir, cover);
    expect(pictures).toMatchObject([{ codec_name: "mjpeg", width: 720, height: 1280 }]);
  });

  test("a small landscape one, never enlarged, in Matroska with other codecs", async () => {
    await makeClip(
      processing.dir,
      `${source("320x180", 1)} ${sine}=1 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus small.mkv`,
    );
    const { video, audio } = await processing.transcode("small.mkv");
    expect(video).toMatchObject({ codec_name: "h264", width: 320, height: 180 });
    expect(audio).toMatchObject({ codec_name: "aac" });
  });

  test("one that lies on its side, upright", async () => {
    await makeClip(processing.dir, `${source("640x360", 1)} ${x264} -pix_fmt yuv420p flat.mp4`);
    await makeClip(processing.dir, "-i flat.mp4 -c copy -metadata:s:v rotate=90 rotated.mp4");
    const { video, cover } = await processing.transcode("rotated.mp4");
    expect(video).toMatchObject({ width: 360, height: 640 });
    expect(JSON.stringify(video)).not.toContain("otation");
    expect((await inspect(processing.dir, cover)).streams).toMatchObject([{ width: 360, height: 640 }]);
  });

  test("one of odd size without sound", async () => {
    await makeClip(processing.dir, `${source("321x241", 1)} ${x264} -pix_fmt yuv444p odd.mp4`);
    const { video, audio } = await processing.transcode("odd.mp4");
    expect(video).toMatchObject({ width: 320, height: 240, pix_fmt: "yuv420p" });
    expect(audio).toBeUndefined();
  });

  test("one with wide pixels, at its size on the screen", async () => {
    await makeClip(processing.dir, `${source("360x288", 1)} -vf setsar=16/9 ${x264} -pix_fmt yuv420p wide.mp4`);
    expect((await processing.transcode("wide.mp4")).video).toMatchObject({
      width: 540,
      height: 242,
      sample_aspect_ratio: "1:1",
    });
  });

  test("one with 10 bits in 4:2:2", async () => {
    await makeClip(processing.dir, `${source("320x240", 1)} ${x264} -pix_fmt yuv422p10le deep.mp4`);
    expect((await processing.transcode("deep.mp4")).video).toMatchObject({ profile: "High", pix_fmt: "yuv420p" });
  });

  test("one with 120 pictures a second, at 60", async () => {
    await makeClip(processing.dir, `${source("320x240", 2, 120)} ${x264} -pix_fmt yuv420p fast.mp4`);
    const { video, packets } = await processing.transcode("fast.mp4");
    expect(video).toMatchObject({ r_frame_rate: "60/1" });
    expect(packets.length).toBeWithin(118, 123);
  });

  test("one with a single picture", async () => {
    await makeClip(processing.dir, `${source("320x240", 1)} -frames:v 1 ${x264} -pix_fmt yuv420p one.mp4`);
    const { packets, completed, cover } = await processing.transcode("one.mp4");
    expect(packets).toHaveLength(1);
    expect(Number(completed.durationMs)).toBeGreaterThan(0);
    expect(await luminance(processing.dir, cover)).toBeGreaterThan(40);
  });

  test("a streamed recording that does not tell its duration", async () => {
    await makeClip(processing.dir, `${source("320x240", 2)} -c:v libvpx -deadline realtime -live 1 -f webm live.webm`);
    const { completed } = await processing.transcode("live.webm");
    expect(Number(completed.durationMs)).toBeWithin(1_900, 2_200);
  });

  test("one that changes its size in the middle, as a phone does that is turned", async () => {
    const vp8 = "-c:v libvpx -deadline realtime";
    await makeClip(processing.dir, `${source("320x240", 1)} ${vp8} across.webm`);
    await makeClip(processing.dir, `${source("240x320", 1)} ${vp8} upright.webm`);
    await writeFile(join(processing.dir, "turned.txt"), "file across.webm\nfile upright.webm\n");
    await makeClip(processing.dir, "-f concat -i turned.txt -c copy turned.webm");
    const { video, completed, cover } = await processing.transcode("turned.webm");
    expect(video).toMatchObject({ width: 320, height: 240 });
    expect(Number(completed.durationMs)).toBeWithin(1_900, 2_200);
    expect(await luminance(processing.dir, cover)).toBeGreaterThan(60);
  });

  test("one that was trimmed by an edit list", async () => {
    await makeClip(
      processing.dir,
      `${source("320x240", 4)} ${sine}=4 ${x264} -g 120 -pix_fmt yuv420p -c:a aac untrimmed.mp4`,
    );
    await makeClip(processing.dir, "-ss 1.5 -i untrimmed.mp4 -c copy trimmed.mp4");
    const { completed } = await processing.transcode("trimmed.mp4");
    expect(Number(completed.durationMs)).toBeWithin(2_300, 2_800);
  });
});

describe("the cover", () => {
  test("of a video whose first two seconds are black shows something", async () => {
    const black = "-f lavfi -i color=black:size=320x240:rate=30:duration=2";
    await makeClip(
      processing.dir,
      `${black} ${source("320x240", 2)} -filter_complex [0:v][1:v]concat=n=2:v=1 ${x264} -pix_fmt yuv420p black.mp4`,
    );
    const { cover, play } = await processing.transcode("black.mp4");
    expect(await luminance(processing.dir, cover)).toBeGreaterThan(60);
    await makeClip(processing.dir, `-i ${play} -frames:v 1 first.jpg`);
    expect(await luminance(processing.dir, "first.jpg")).toBeLessThan(20);
  });

  test("of a video that is black all through is there", async () => {
    await makeClip(processing.dir, `-f lavfi -i color=black:size=64x64:rate=30:duration=1 ${x264} dark.mp4`);
    expect(await luminance(processing.dir, (await processing.transcode("dark.mp4")).cover)).toBeLessThan(20);
  });
});

test("nothing of what the file tells about its maker is published", async () => {
  await writeFile(
    join(processing.dir, "chapters.txt"),
    ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=home\n",
  );
  const tags = "-metadata location=+52.5163+013.3777/ -metadata title=holiday -movflags use_metadata_tags";
  await makeClip(
    processing.dir,
    `${source("64x64", 1)} -i chapters.txt -map_metadata 1 ${tags} ${x264} -pix_fmt yuv420p told.mp4`,
  );
  expect(JSON.stringify(await inspect(processing.dir, "told.mp4"))).toContain("52.5163");
  const { play, chapters } = await processing.transcode("told.mp4");
  const bytes = await Bun.file(join(processing.dir, play)).text();
  for (const word of ["52.5163", "holiday", "home"]) expect(bytes).not.toContain(word);
  expect(chapters).toEqual([]);
});

describe("everything that is stored", () => {
  test("is public, may be kept for ever, and says what it is", async () => {
    const { completed } = await processing.transcode(await processing.smallClip());
    const types: [key: string, type: string][] = [
      [completed.playKey, "video/mp4"],
      [completed.hlsKey, "application/vnd.apple.mpegurl"],
      [completed.previewKey, "image/webp"],
      [completed.coverKey, "image/jpeg"],
      ...completed.renditions.map(({ url }): [string, string] => [url, "video/mp4"]),
      ...completed.covers.map(({ url, type }): [string, string] => [url, type]),
    ];
    for (const [key, type] of types) {
      const response = await fetch(processing.store.publicUrl(key), { method: "HEAD" });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe(type);
      expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    }
    expect(completed.covers.map(({ type }) => type).toSorted()).toEqual(["image/jpeg", "image/webp"]);
    expect(Buffer.from(completed.thumbhash, "base64").length).toBeWithin(5, 26);
  });

  test("lies under the number of its attempt, and what former attempts left there is removed", async () => {
    const rawKey = await processing.upload(await processing.smallClip());
    const videoId = processing.service.add(rawKey);
    const left = `videos/${videoId}/0/1080.mp4`;
    await processing.store.put(left, join(processing.dir, await processing.smallClip()), { contentType: "video/mp4" });
    await processing.process(videoId);
    const keys = (await processing.store.list(`videos/${videoId}/`)).map(({ key }) => key);
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
  await makeClip(processing.dir, `${source("720x1280", 6)} ${x264} -pix_fmt yuv420p longer.mp4`);
  const publishing = processing.publish("longer.mp4");
  // It is told once a second at most: however fast the machine is, the work takes longer than that.
  const [paused] = await Promise.all([pauseFfmpeg(process.pid), Bun.sleep(1_100)]);
  for (const pid of paused) process.kill(pid, "SIGCONT");
  const { video } = await publishing;
  expect(video.percents.length).toBeGreaterThan(1);
  expect(video.percents).toEqual(video.percents.toSorted((a, b) => a - b));
  expect(video.percents.at(-1)).toBe(92);
});

test("an abort ends it at once and leaves nothing behind", async () => {
  await makeClip(processing.dir, `${source("1280x720", 30)} ${x264} -pix_fmt yuv420p slow.mp4`);
  const abort = new AbortController();
  const done = processing.publish("slow.mp4", processing.processor(), abort.signal).then(
    () => "done",
    (error: unknown) => String(error),
  );
  const paused = await pauseFfmpeg(process.pid);
  expect(processing.jobFolders()).toHaveLength(1);
  for (const pid of paused) process.kill(pid, "SIGCONT");
  const abortedAt = performance.now();
  abort.abort(new Error("enough"));
  expect(await done).toBe("Error: enough");
  expect(performance.now() - abortedAt).toBeLessThan(4_000);
  for (const pid of paused) expect(isRunning(pid)).toBe(false);
  expect(processing.jobFolders()).toEqual([]);
});

test("a worker that lost its claim stores nothing", async () => {
  const rawKey = `raw/${crypto.randomUUID()}`;
  await processing.store.put(rawKey, join(processing.dir, await processing.smallClip()), { contentType: "video/mp4" });
  const videoId = processing.service.add(rawKey);
  const claim = await claimJob(processing.jobs, videoId);
  if (!claim) throw new Error("there was nothing to claim");
  processing.service.steal(videoId);
  await expect(processing.processor()(claim, claim.signal)).rejects.toThrow("somebody else has the job");
  claim.drop();
  expect(await processing.store.list(`videos/${videoId}/`)).toEqual([]);
});
