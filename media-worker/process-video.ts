import { stat } from "node:fs/promises";
import { join } from "node:path";

import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";

import type { Claim, Job } from "./claim.ts";
import { fetchInput } from "./fetch-input.ts";
import type { Ffmpeg, FfmpegOutput } from "./ffmpeg.ts";
import { coverFile, inputFile, planVideo, playFile, videoFormats, type Limits, type Plan } from "./plan.ts";
import type { Probe } from "./probe.ts";
import { blame, checkResult, chooseCover, whyUndecodable, whyUnreadable } from "./verdict.ts";
import type { WorkDir } from "./work-dir.ts";

export interface ProcessorOptions {
  store: ObjectStore;
  ffmpeg: Ffmpeg;
  workDir: WorkDir;
  limits: Limits;
}

/** What a video has become. */
export interface MadeVideo {
  playKey: string;
  coverKey: string;
  width: number;
  height: number;
  durationMs: bigint;
  /** Of the upload. */
  sha256: string;
}

/** The same, for the log. */
interface Processed {
  width: number;
  height: number;
  durationMs: number;
  inputBytes: number;
  outputBytes: number;
  fetchMs: number;
  transcodeMs: number;
  storeMs: number;
}

/** A job with a video: its client may have announced a SHA-256. */
interface VideoJob extends Job {
  sha256: string;
}

export type ProcessVideo = (claim: Claim<VideoJob, MadeVideo>, signal: AbortSignal) => Promise<Processed>;

/** An object under one of our keys is written with the same content again, and never changed. */
export const forever = { public: true, cacheControl: "public, max-age=31536000, immutable" };

/**
 * Makes of an upload what players play: fetch, probe, plan, run, check, store, complete. Doing it again gives the same objects.
 *
 * The processor throws {@link BadUpload} when the file is at fault, the signal's reason when it aborts, and anything else for
 * faults that may pass.
 */
export function createVideoProcessor({ store, ffmpeg, workDir, limits }: ProcessorOptions): ProcessVideo {
  const probing = { maxPixels: limits.maxPixels, formats: videoFormats };

  return (claim, signal) =>
    workDir.with(async (dir) => {
      const startedAt = performance.now();
      const { rawKey, sha256: announced } = claim.job;
      const fetching = { maxBytes: limits.maxInputBytes, sha256: announced, signal };
      const { bytes: inputBytes, sha256 } = await fetchInput(store, rawKey, dir, fetching);
      const fetchedAt = performance.now();
      const source = await probeInput(dir, signal);
      const plan = planVideo(source, limits);
      const output = await run(dir, plan, signal);
      const durationMs = await check(dir, source, plan, output, signal);
      const transcodedAt = performance.now();
      // Whoever lost the job in the meantime must not write over what its new holder stored.
      await claim.renew();
      const stored = await storeOutputs(claim.job.jobId, dir, chooseCover(output.stdout, plan.covers), signal);
      const size = { width: plan.width, height: plan.height };
      const { playKey, coverKey } = stored;
      await claim.complete({ ...size, durationMs: BigInt(durationMs), playKey, coverKey, sha256 });
      return {
        ...size,
        durationMs,
        inputBytes,
        outputBytes: stored.bytes,
        fetchMs: Math.round(fetchedAt - startedAt),
        transcodeMs: Math.round(transcodedAt - fetchedAt),
        storeMs: Math.round(performance.now() - transcodedAt),
      };
    });

  async function probeInput(dir: string, signal: AbortSignal): Promise<Probe> {
    try {
      return await ffmpeg.probe(dir, inputFile, { ...probing, signal });
    } catch (error) {
      throw blame(error, (failure) => whyUnreadable(failure, limits));
    }
  }

  async function run(dir: string, plan: Plan, signal: AbortSignal): Promise<FfmpegOutput> {
    try {
      return await ffmpeg.run(dir, plan, signal);
    } catch (error) {
      throw blame(error, (failure) => whyUndecodable(failure, limits));
    }
  }

  /** Milliseconds of video that the run made. */
  async function check(dir: string, source: Probe, plan: Plan, output: FfmpegOutput, signal: AbortSignal) {
    const result = await ffmpeg.probe(dir, playFile, { ...probing, signal });
    return checkResult(source, plan, result, output, limits);
  }

  async function storeOutputs(videoId: bigint, dir: string, cover: number, signal: AbortSignal) {
    const playPath = join(dir, playFile);
    const coverPath = join(dir, coverFile(cover));
    const playKey = `videos/${videoId}/play.mp4`;
    const coverKey = `videos/${videoId}/cover.jpg`;
    try {
      await store.put(coverKey, coverPath, { ...forever, contentType: "image/jpeg", signal });
      await store.put(playKey, playPath, { ...forever, contentType: "video/mp4", signal });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
    return { playKey, coverKey, bytes: (await stat(playPath)).size + (await stat(coverPath)).size };
  }
}
