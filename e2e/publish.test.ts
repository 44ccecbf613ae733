import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { publishLarge } from "./large-upload.ts";
import { ffmpeg, ffprobe, runStack, type RunningStack } from "./running-stack.ts";

/** A real clip that stands beside the repository on some machines. */
const bear = join(import.meta.dir, "../../shared/media/bear.mp4");

let flick: RunningStack;
beforeAll(async () => {
  flick = await runStack();
}, 60_000);
afterAll(() => flick.stop(), 30_000);

async function realClip(): Promise<string> {
  if (existsSync(bear)) return bear;
  const path = join(flick.dir, "clip.mp4");
  const sources = ["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25", "-f", "lavfi", "-i", "sine=frequency=440"];
  await ffmpeg(...sources, "-t", "6", "-pix_fmt", "yuv420p", path);
  return path;
}

/** Downloads by ranges of 64 KiB, as players do. */
async function downloadByRanges(url: string): Promise<Uint8Array> {
  const size = Number((await fetch(url, { method: "HEAD" })).headers.get("content-length"));
  const chunks: Uint8Array[] = [];
  for (let start = 0; start < size; start += 65_536) {
    const end = Math.min(start + 65_536, size) - 1;
    const response = await fetch(url, { headers: { range: `bytes=${start}-${end}` } });
    expect(response.status).toBe(206);
    expect(response.headers.get("content-range")).toBe(`bytes ${start}-${end}/${size}`);
    chunks.push(new Uint8Array(await response.arrayBuffer()));
  }
  return Buffer.concat(chunks);
}

/** The types of an MP4's top-level boxes. */
function boxes(bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const types: string[] = [];
  for (let at = 0; at + 8 <= buffer.length;) {
    types.push(buffer.toString("latin1", at + 4, at + 8));
    const size = buffer.readUInt32BE(at);
    at += size === 1 ? Number(buffer.readBigUInt64BE(at + 8)) : size || buffer.length;
  }
  return types;
}

test("a real video is published, becomes ready, is in an anonymous feed, and plays by ranges", async () => {
  const clip = await realClip();
  const { token, user_id, name } = await flick.signUp();
  const began = performance.now();
  const { video_id } = await flick.api.publish(token, "a bear 🐻", Bun.file(clip));
  expect(video_id).toBeNumber();

  // At once, for its author: with links that load.
  const { video_list: mine } = await flick.api.publishList(token);
  expect(mine[0]).toMatchObject({ id: video_id, title: "a bear 🐻", author: { id: user_id, name, work_count: 1 } });
  for (const url of [mine[0]?.play_url, mine[0]?.cover_url]) expect((await fetch(url ?? "")).status).toBe(200);

  const video = await flick.settled(token, video_id);
  expect(video).toMatchObject({ status: "ready", status_reason: "" });
  const seconds = (performance.now() - began) / 1000;

  const feed = await flick.feedIs((videos) => videos.some(({ id }) => id === video_id));
  const { next_time } = await flick.api.feed();
  const found = feed.find((each) => each.id === video_id);
  expect(found).toMatchObject({
    title: "a bear 🐻",
    author: { id: user_id, name },
    is_favorite: false,
    status: "ready",
  });
  expect(next_time).toBeGreaterThan(1e12);

  const bytes = await downloadByRanges(found?.play_url ?? "");
  const order = boxes(bytes);
  expect(order.indexOf("moov")).toBeGreaterThan(0);
  expect(order.indexOf("moov")).toBeLessThan(order.indexOf("mdat"));
  const path = join(flick.dir, "played.mp4");
  await Bun.write(path, bytes);
  const [source, played] = [await ffprobe(clip), await ffprobe(path)];
  expect(played.streams.map((stream) => stream.codec_name).toSorted()).toEqual(["aac", "h264"]);
  expect(Math.abs(Number(played.format.duration) - Number(source.format.duration))).toBeLessThan(0.2);
  const picture = played.streams.find((stream) => stream.codec_type === "video");
  const original = source.streams.find((stream) => stream.codec_type === "video");
  expect(picture?.width).toBe(Math.min(720, original?.width ?? 0));
  expect(picture?.pix_fmt).toBe("yuv420p");

  const cover = await fetch(found?.cover_url ?? "");
  expect(cover.headers.get("content-type")).toBe("image/jpeg");
  process.stdout.write(`ready ${seconds.toFixed(1)} s after the upload began\n`);
}, 120_000);

test("a video shows the cover that its author chooses, everywhere within seconds", async () => {
  const clip = join(flick.dir, "halves.mp4");
  // Red, and from the second second on blue.
  const halves = [
    "-f",
    "lavfi",
    "-i",
    "color=red:s=360x640:r=25:d=4",
    "-vf",
    "drawbox=c=blue:t=fill:enable=gte(t\\,2)",
  ];
  await ffmpeg(...halves, "-pix_fmt", "yuv420p", clip);
  const { token } = await flick.signUp();
  const { video_id } = await flick.api.publish(token, "two halves", Bun.file(clip));
  expect(await flick.settled(token, video_id)).toMatchObject({ status: "ready" });
  const shown = async () => (await flick.api.publishList(token)).video_list.find(({ id }) => id === video_id);
  const colours: string[] = [];
  for (const timeMs of [3000, 1000]) {
    const before = (await shown())?.cover_url;
    await flick.api.chooseCover(token, video_id, timeMs);
    const feed = await flick.feedIs((all) => all.some(({ id, cover_url: url }) => id === video_id && url !== before));
    const after = feed.find(({ id }) => id === video_id)?.cover_url ?? "";
    expect((await shown())?.cover_url).toBe(after);
    const made = { cover_status: "ready", cover_time_ms: timeMs, cover_reason: "" };
    expect(await flick.api.publishStatus(token, video_id)).toMatchObject({ status: "ready", ...made });
    const cover = join(flick.dir, "cover.jpg");
    await Bun.write(cover, await fetch(after));
    await ffmpeg("-i", cover, "-vf", "scale=1:1:flags=area,format=rgb24", "-f", "rawvideo", `${cover}.bin`);
    const [red = 0, , blue = 0] = await Bun.file(`${cover}.bin`).bytes();
    colours.push(red > blue ? "red" : "blue");
  }
  expect(colours).toEqual(["blue", "red"]);
}, 120_000);

test("a damaged video fails with a reason that its author reads and nobody else sees", async () => {
  const clip = await realClip();
  const { token, user_id } = await flick.signUp();
  const half = Bun.file(clip).slice(0, Math.floor(Bun.file(clip).size / 2));
  const { video_id } = await flick.api.publish(token, "only half of it", half);
  const video = await flick.settled(token, video_id);
  expect(video.status).toBe("failed");
  expect(video.status_reason).toMatch(/\w+ \w+/);
  expect(video.status_reason).not.toMatch(/[/\\]|ffmpeg|0x/i);
  const other = await flick.signUp();
  expect((await flick.api.publishList(other.token, user_id)).video_list).toEqual([]);
  expect((await flick.api.feed()).video_list.map((each) => each.id)).not.toContain(video_id);
  expect((await flick.api.user(token)).user.work_count).toBe(0);
}, 120_000);

test("an upload that its client breaks off leaves neither a row nor an object", async () => {
  const { token } = await flick.signUp();
  const before = (await flick.objects.list("raw/")).length;
  const abort = new AbortController();
  const body = new ReadableStream({
    async start(controller) {
      controller.enqueue(
        '--b\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n\0\0\0\x20ftypisom',
      );
      for (let chunk = 0; chunk < 10; chunk++) controller.enqueue(new Uint8Array(100_000));
      await Bun.sleep(500);
      abort.abort();
    },
  });
  const call = fetch(`${flick.url}/douyin/publish/action/?token=${token}&title=never`, {
    method: "POST",
    body,
    signal: abort.signal,
    headers: { "content-type": "multipart/form-data; boundary=b" },
  });
  await expect(call).rejects.toThrow();
  // Time enough for what should not be there to come.
  await Bun.sleep(1000);
  const deadline = Date.now() + 10_000;
  while ((await flick.objects.list("raw/")).length > before && Date.now() < deadline) await Bun.sleep(100);
  expect(await flick.objects.list("raw/")).toHaveLength(before);
  expect((await flick.api.publishList(token)).video_list).toEqual([]);
}, 30_000);

test.if(existsSync("/proc/self/status"))(
  "a large upload is nowhere held in memory on its way",
  async () => {
    const { token } = await flick.signUp();
    const watched = { gateway: flick.pidOf("gateway"), origin: flick.pidOf("origin") };
    const grown = await publishLarge({ url: flick.url, token, bytes: 256 * 1024 * 1024 }, watched);
    process.stdout.write(`256 MiB were published: gateway and origin grew by ${JSON.stringify(grown)} MiB\n`);
    expect(grown.origin).toBeLessThan(64);
    expect(grown.gateway).toBeLessThan(64);
  },
  120_000,
);
