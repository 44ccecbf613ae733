import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient } from "@connectrpc/connect";
import { testServers } from "@flick/dev/testing.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { CoverJobService } from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import { MediaJobService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { BadUpload } from "./bad-upload.ts";
import { claimJob } from "./claim.ts";
import { createFfmpeg } from "./ffmpeg.ts";
import { defaultLimits } from "./limits.ts";
import { createCoverProcessor, pictureAt } from "./process-cover.ts";
import { createVideoProcessor } from "./process-video.ts";
import { inspect, luminance, makeClip, startJobService, testServiceSecret, type TestJobService } from "./testing.ts";
import { firstFrame } from "./webp.ts";
import { createWorkDir, type WorkDir } from "./work-dir.ts";

setDefaultTimeout(60_000);

let dir: string;
let service: TestJobService;
let transport: ReturnType<typeof createServiceTransport>;
let store: ObjectStore;
let workDir: WorkDir;
/** Object key of a rendition of eight seconds that turn from black to white, a step with every picture; its sound lasts a second longer. */
let rendition: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-cover-"));
  service = startJobService({ leaseMs: 30_000 });
  const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
  transport = createServiceTransport({ baseUrl: service.url, serviceToken, timeoutMs: 5_000 });
  const { ossUrl, oss } = await testServers();
  store = createObjectStore({ endpoint: ossUrl, ...oss });
  workDir = await createWorkDir(join(dir, "work"));
  const brighter = "-f lavfi -i nullsrc=s=400x600:r=25:d=8,geq=lum=16+25*T:cb=128:cr=128";
  await makeClip(dir, `${brighter} -f lavfi -i sine=d=9 -c:v libx264 -preset ultrafast -pix_fmt yuv420p brighter.mp4`);
  const rawKey = `raw/${crypto.randomUUID()}`;
  await store.put(rawKey, join(dir, "brighter.mp4"), { contentType: "video/mp4" });
  const videoId = service.add(rawKey);
  const claim = await claimJob(createClient(MediaJobService, transport), videoId);
  if (!claim) throw new Error("there was nothing to claim");
  await createVideoProcessor(tools())(claim, claim.signal);
  claim.drop();
  rendition = service.videos.get(videoId)?.completed[0]?.playKey ?? "";
}, 60_000);

afterAll(async () => {
  await workDir.close();
  await service.stop();
  await rm(dir, { recursive: true });
});

const tools = () => ({
  store,
  workDir,
  ffmpeg: createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" }),
  limits: { ...defaultLimits, maxInputBytes: 50_000_000 },
});

/** Has a worker make the cover of a moment. */
async function cover(timeMs: number, rawKey = rendition, within?: AbortSignal) {
  const jobId = service.addCover(rawKey, BigInt(timeMs));
  const claim = await claimJob(createClient(CoverJobService, transport), jobId);
  if (!claim) throw new Error("there was nothing to claim");
  try {
    await createCoverProcessor(tools())(claim, within ?? claim.signal);
  } finally {
    claim.drop();
  }
  const [completed] = service.covers.get(jobId)?.completed ?? [];
  if (!completed) throw new Error("it was not completed");
  return { jobId, completed };
}

async function fetched(key: string): Promise<string> {
  const file = key.replaceAll("/", "-");
  await store.getFile(key, join(dir, file), { maxBytes: 1e8 });
  return file;
}

const brightnessAt = (seconds: number) => 16 + 25 * seconds;

describe("a cover shows the picture that a player shows at that moment", () => {
  test.each([
    ["in the middle of a picture", 3010, 3],
    ["at the beginning of a picture", 5000, 5],
    ["at the very beginning", 0, 0],
    ["at the end of the last picture", 7999, 7.96],
    ["when only the sound goes on", 8900, 7.96],
  ])("%s", async (_where, timeMs, seconds) => {
    const { completed } = await cover(timeMs);
    // A picture is one step of brightness away from the next.
    const found = await luminance(dir, await fetched(completed.coverKey));
    expect(Math.abs(found - brightnessAt(seconds))).toBeLessThan(0.8);
  });
});

test("a cover comes with all sizes, its ThumbHash and a preview that begins there, under names of its own", async () => {
  const { jobId, completed } = await cover(4000);
  const { covers, coverKey, previewKey, thumbhash } = completed;
  const folder = `videos/${jobId}/covers/1/`;
  expect(covers.map(({ url, type, width, height }) => [url, type, width, height])).toEqual([
    [`${folder}cover-360.webp`, "image/webp", 360, 540],
    [`${folder}cover-360.jpg`, "image/jpeg", 360, 540],
    [`${folder}cover-400.webp`, "image/webp", 400, 600],
    [`${folder}cover-400.jpg`, "image/jpeg", 400, 600],
  ]);
  expect([coverKey, previewKey]).toEqual([`${folder}cover-400.jpg`, `${folder}preview.webp`]);
  expect(Buffer.from(thumbhash, "base64").length).toBeGreaterThan(4);
  for (const { url, width, height } of covers) {
    const { streams } = await inspect(dir, await fetched(url));
    expect(streams[0]).toMatchObject({ width, height });
  }
  const preview = await Bun.file(join(dir, await fetched(previewKey))).bytes();
  await Bun.write(join(dir, "first.webp"), firstFrame(Buffer.from(preview)) ?? "it does not move");
  expect(Math.abs((await luminance(dir, "first.webp")) - brightnessAt(4))).toBeLessThan(2);
  const response = await fetch(store.publicUrl(coverKey));
  expect(response.headers.get("content-type")).toBe("image/jpeg");
  expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
});

test("a video that is gone is the end of the job, a stop is not", async () => {
  const gone: unknown = await cover(0, "videos/1/1/720.mp4").catch((error: unknown) => error);
  expect(gone).toBeInstanceOf(BadUpload);
  const stopped: unknown = await cover(0, rendition, AbortSignal.abort("stop")).catch((error: unknown) => error);
  expect(stopped).toBe("stop");
});

describe("the picture at a moment", () => {
  const packet = (time: number | null, changes = {}) => {
    return { stream: 0, time, duration: null, isKey: false, isDiscarded: false, ...changes };
  };
  // As they are decoded, on a clock that begins at one second; the picture at 2 s stands for three.
  const packets = [
    packet(1),
    packet(1.04, { stream: 1 }),
    packet(2),
    packet(1.5),
    packet(0.9, { isDiscarded: true }),
    packet(null),
    packet(5),
  ];
  const at = (timeMs: number) => pictureAt(timeMs, { start: 1 }, { index: 0 }, packets);

  test("is the last one that began, however long it stands", () => {
    expect([0, 499, 500, 1000, 3999, 4000, 9999].map((time) => at(time).timeMs)).toEqual([
      0, 0, 500, 1000, 1000, 4000, 4000,
    ]);
  });

  test("comes with the way to the one before it", () => {
    expect([at(600), at(1200), at(9000)].map(({ frameRate }) => 1000 / frameRate)).toEqual([500, 500, 3000]);
  });
});
