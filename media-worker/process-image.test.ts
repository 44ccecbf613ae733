import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient } from "@connectrpc/connect";
import { testServers } from "@flick/dev/testing.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { ImageJobService, ImageKind } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";

import { BadUpload } from "./bad-upload.ts";
import { claimJob, type JobService } from "./claim.ts";
import { createFfmpeg } from "./ffmpeg.ts";
import { imageFormats } from "./plan-image.ts";
import { createImageProcessor, type ImageJob, type MadeImage } from "./process-image.ts";
import { blackPng, withExif } from "./testing-images.ts";
import { makeClip, pixels, startJobService, testServiceSecret, type TestJobService } from "./testing.ts";
import { createWorkDir, type WorkDir } from "./work-dir.ts";

const limits = { maxInputBytes: 10_000_000, maxDurationS: 600, maxPixels: 4096 * 4096 };
const userId = 77n;
const { AVATAR, BACKGROUND } = ImageKind;
const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });

let dir: string;
let service: TestJobService;
let jobs: JobService<ImageJob, MadeImage>;
let store: ObjectStore;
let workDir: WorkDir;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-image-"));
  service = startJobService({ leaseMs: 30_000 });
  const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
  const transport = createServiceTransport({ baseUrl: service.url, serviceToken, timeoutMs: 5_000 });
  jobs = createClient(ImageJobService, transport);
  const { ossUrl, oss } = await testServers();
  store = createObjectStore({ endpoint: ossUrl, ...oss });
  workDir = await createWorkDir(join(dir, "work"));
  await makeClip(dir, `${halves("2000x1000")} wide.jpg`);
}, 60_000);

afterAll(async () => {
  await workDir.close();
  await service.stop();
  await rm(dir, { recursive: true });
});

/** A picture that is red on the left and blue on the right. */
const halves = (size: string) => {
  const [width = 0, height = 0] = size.split("x").map(Number);
  const box = `drawbox=x=${width / 2}:w=${width / 2}:h=${height}:color=blue:t=fill`;
  return `-f lavfi -i color=red:s=${size}:d=1:r=5 -vf ${box} -frames:v 1`;
};

/** Has a worker process a file as a user's picture. */
async function upload(file: string | Buffer, kind: ImageKind, within?: AbortSignal) {
  const path = typeof file === "string" ? join(dir, file) : join(dir, crypto.randomUUID());
  if (typeof file !== "string") await writeFile(path, file);
  const rawKey = `raw-images/${crypto.randomUUID()}`;
  await store.put(rawKey, path, { contentType: "image/jpeg" });
  const imageId = service.addImage(rawKey, userId, kind);
  const claim = await claimJob(jobs, imageId);
  if (!claim) throw new Error("there was nothing to claim");
  try {
    await createImageProcessor({ store, workDir, ffmpeg, limits })(claim, within ?? claim.signal);
  } finally {
    claim.drop();
  }
  const [completed] = service.images.get(imageId)?.completed ?? [];
  return { imageId, key: completed?.imageKey ?? "" };
}

/** Processes a file and looks at what became of it, at a few places. */
async function become(file: string | Buffer, kind: ImageKind, ...places: [x: number, y: number][]) {
  const { imageId, key } = await upload(file, kind);
  const made = `${imageId}.jpg`;
  await store.getFile(key, join(dir, made), { maxBytes: 1e8 });
  await writeFile(join(dir, `${imageId}`), await readFile(join(dir, made)));
  const { streams } = await ffmpeg.probe(dir, `${imageId}`, { maxPixels: 1e8, formats: imageFormats, signal: never });
  const { codec, width, height } = streams[0] ?? {};
  const colours = await pixels(dir, made, places);
  return { imageId, key, codec, size: `${width}x${height}`, colours, bytes: await readFile(join(dir, made)) };
}

const never = AbortSignal.any([]);

async function refusal(file: string | Buffer, kind = AVATAR): Promise<string> {
  const error: unknown = await upload(file, kind).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(BadUpload);
  return (error as BadUpload).message;
}

test("an avatar becomes the square in the middle, and everybody may read it for ever", async () => {
  const { imageId, key, codec, size, colours } = await become("wide.jpg", AVATAR, [100, 256], [400, 256]);
  expect(key).toBe(`users/77/${imageId}-avatar.jpg`);
  expect([codec, size]).toEqual(["mjpeg", "512x512"]);
  expect(colours).toEqual(["red", "blue"]);
  const response = await fetch(store.publicUrl(key));
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("image/jpeg");
  expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
});

test("a background keeps its shape, at most 1500 wide", async () => {
  const { imageId, key, size } = await become("wide.jpg", BACKGROUND);
  expect([key, size]).toEqual([`users/77/${imageId}-background.jpg`, "1500x750"]);
});

test("small pictures are never enlarged", async () => {
  await makeClip(dir, `${halves("300x200")} small.png`);
  expect((await become("small.png", AVATAR)).size).toBe("200x200");
  expect((await become("small.png", BACKGROUND)).size).toBe("300x200");
});

test.each([
  ["png", ""],
  ["webp", ""],
  ["gif", ""],
  ["webp", "-c:v libwebp_anim"],
  ["apng", "-f apng"],
])("%s can be read (%s), the first picture of it if it moves", async (format, codec) => {
  const moving = "-f lavfi -i color=red:s=80x60:d=1:r=5 -vf drawbox=color=blue:t=fill:enable=gte(t\\,0.5)";
  const options = codec || format === "gif" ? moving : halves("80x60").replace("blue", "red");
  await makeClip(dir, `${options}${codec && ` ${codec}`} moves.${format}`);
  const { codec: made, size, colours } = await become(`moves.${format}`, AVATAR, [30, 30]);
  expect([made, size, colours]).toEqual(["mjpeg", "60x60", ["red"]]);
});

test("what is transparent becomes white", async () => {
  await makeClip(dir, "-f lavfi -i color=red@0:s=80x60,format=rgba -frames:v 1 clear.png");
  expect((await become("clear.png", AVATAR, [30, 30])).colours).toEqual(["white"]);
});

test("the orientation is applied, and the place where it was taken is gone", async () => {
  const lying = withExif(await readFile(join(dir, "wide.jpg")), 6);
  expect(lying.includes("Exif")).toBe(true);
  const { size, colours, bytes } = await become(lying, BACKGROUND, [500, 100], [500, 1900]);
  // What was left is up.
  expect([size, colours]).toEqual(["1000x2000", ["red", "blue"]]);
  expect(bytes.includes("Exif")).toBe(false);
});

test("doing it again gives the same bytes", async () => {
  const [one, other] = [await become("wide.jpg", AVATAR), await become("wide.jpg", AVATAR)];
  expect(one.bytes.equals(other.bytes)).toBe(true);
});

describe("the upload is at fault, and its owner hears why, when it is", () => {
  test("cut off", async () => {
    await makeClip(dir, "-f lavfi -i testsrc2=s=640x360 -frames:v 1 whole.png");
    await makeClip(dir, "-f lavfi -i testsrc2=s=640x360 -frames:v 1 whole.jpg");
    for (const file of ["whole.png", "whole.jpg"]) {
      const whole = await readFile(join(dir, file));
      expect(await refusal(whole.subarray(0, whole.length / 2))).toStartWith("This picture is damaged");
    }
  });

  test("a PNG of 20000 by 20000 pixels in few bytes", async () => {
    const bomb = blackPng(20_000, 20_000);
    expect(bomb.length).toBeLessThan(1_000_000);
    expect(await refusal(bomb)).toBe(`The picture has more than ${limits.maxPixels} pixels.`);
  });

  test.each([
    ["SVG", "<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'><image href='file:///etc/passwd'/></svg>"],
    ["HTML", "<!doctype html><script>alert(1)</script>"],
    ["a playlist", "ffconcat version 1.0\nfile /etc/passwd\n"],
    ["an animation without pictures", "RIFF\x20\0\0\0WEBPVP8X\x0A\0\0\0\x02\0\0\0\0\0\0\0\0\0ANMF\x01\0\0\0\0"],
  ])("%s", async (_what, text) => {
    expect(await refusal(Buffer.from(text, "latin1"))).toStartWith("This picture is damaged");
  });

  test("a video", async () => {
    await makeClip(dir, "-f lavfi -i testsrc2=s=160x120:d=1 -c:v libx264 -pix_fmt yuv420p clip.mp4");
    expect(await refusal("clip.mp4")).toStartWith("This picture is damaged");
  });

  test("larger than it may be, or gone", async () => {
    expect(await refusal(Buffer.alloc(limits.maxInputBytes + 1))).toBe("The file is larger than 10000000 bytes.");
  });
});

test("one pixel, and one very long line, are pictures too", async () => {
  expect((await become(blackPng(1, 1), AVATAR)).size).toBe("1x1");
  expect((await become(blackPng(16_000, 1), AVATAR)).size).toBe("1x1");
});

test("an abort leaves nothing behind", async () => {
  const enough = AbortSignal.abort(new Error("enough"));
  await expect(upload("wide.jpg", AVATAR, enough)).rejects.toThrow("enough");
  expect(readdirSync(join(dir, "work")).flatMap((name) => readdirSync(join(dir, "work", name)))).toEqual([]);
});
