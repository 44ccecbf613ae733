import { expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { createClient } from "@connectrpc/connect";
import { testServers } from "@flick/dev/testing.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { MediaJobService, type Job } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { claimJob, type JobService } from "./claim.ts";
import { createFfmpeg } from "./ffmpeg.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import { createVideoProcessor, type MadeVideo, type ProcessVideo } from "./process-video.ts";
import { inspect, makeClip, startJobService, testServiceSecret } from "./testing.ts";
import { createWorkDir } from "./work-dir.ts";

export const testLimits: Limits = { ...defaultLimits, maxInputBytes: 50_000_000 };

// Parts of commands that make clips.
export const sine = "-f lavfi -i sine=frequency=440:duration";
export const x264 = "-c:v libx264 -preset ultrafast";
export const source = (size: string, seconds: number, rate = 30) =>
  `-f lavfi -i testsrc2=size=${size}:rate=${rate}:duration=${seconds}`;

export type Processing = Awaited<ReturnType<typeof startProcessing>>;

/** Real transcodes of real uploads, with a real store and the protocol of the service. */
export async function startProcessing() {
  const dir = await mkdtemp(join(tmpdir(), "flick-process-"));
  const service = startJobService({ leaseMs: 30_000 });
  const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
  const transport = createServiceTransport({ baseUrl: service.url, serviceToken, timeoutMs: 5_000 });
  const jobs: JobService<Job, MadeVideo> = createClient(MediaJobService, transport);
  const { ossUrl, oss } = await testServers();
  const store = createObjectStore({ endpoint: ossUrl, ...oss });
  const workDir = await createWorkDir(join(dir, "work"));

  const processor = (changes: Partial<Limits> = {}): ProcessVideo =>
    createVideoProcessor({
      store,
      workDir,
      ffmpeg: createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" }),
      limits: { ...testLimits, ...changes },
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

  return {
    dir,
    service,
    jobs,
    store,
    workDir,
    processor,
    publish,
    upload,
    processUpload,
    process,

    /** Publishes a clip and downloads what became of it. */
    async transcode(file: string, processVideo = processor()) {
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
    },

    /** Folders of jobs that are in the work folder now. */
    jobFolders(): string[] {
      return readdirSync(join(dir, "work"), { recursive: true, encoding: "utf8" }).filter((name) =>
        /job-[^/]*$/.test(name),
      );
    },

    async smallClip(): Promise<string> {
      if (!existsSync(join(dir, "small.mp4"))) {
        await makeClip(dir, `${source("160x120", 1)} ${sine}=1 ${x264} -pix_fmt yuv420p -c:a aac small.mp4`);
      }
      return "small.mp4";
    },

    async stop() {
      await workDir.close();
      await service.stop();
      await rm(dir, { recursive: true });
    },
  };
}
