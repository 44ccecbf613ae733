import { stat } from "node:fs/promises";
import { join } from "node:path";

import { ObjectNotFound, ObjectTooLarge, type ObjectStore } from "@flick/platform/object-store/object-store.ts";

import { BadVideo } from "./bad-video.ts";
import type { Claim, Made } from "./claim.ts";
import { FfmpegFailure, type Ffmpeg, type FfmpegOutput } from "./ffmpeg.ts";
import { coverFile, inputFile, planVideo, playFile, type Limits, type Plan } from "./plan.ts";
import type { Probe } from "./probe.ts";
import { checkResult, chooseCover, whyUndecodable, whyUnreadable } from "./verdict.ts";
import type { WorkDir } from "./work-dir.ts";

export interface ProcessorOptions {
  store: ObjectStore;
  ffmpeg: Ffmpeg;
  workDir: WorkDir;
  limits: Limits;
}

/** What became of a video, for the log. */
interface Processed extends Omit<Made, "playKey" | "coverKey"> {
  inputBytes: number;
  outputBytes: number;
  fetchMs: number;
  transcodeMs: number;
  storeMs: number;
}

export type ProcessVideo = (claim: Claim, signal: AbortSignal) => Promise<Processed>;

/** An object under one of our keys is written with the same content again, and never changed. */
const forever = { public: true, cacheControl: "public, max-age=31536000, immutable" };

/**
 * Makes of an upload what players play: fetch, probe, plan, run, check, store, complete. Doing it again gives the same objects.
 *
 * The processor throws {@link BadVideo} when the file is at fault, the signal's reason when it aborts, and anything else for
 * faults that may pass.
 */
export function createVideoProcessor({ store, ffmpeg, workDir, limits }: ProcessorOptions): ProcessVideo {
  return (claim, signal) =>
    workDir.with(async (dir) => {
      const startedAt = performance.now();
      const inputBytes = await fetchInput(claim.rawKey, dir, signal);
      const fetchedAt = performance.now();
      const source = await probeInput(dir, signal);
      const plan = planVideo(source, limits);
      const output = await run(dir, plan, signal);
      const durationMs = await check(dir, source, plan, output, signal);
      const transcodedAt = performance.now();
      // Whoever lost the job in the meantime must not write over what its new holder stored.
      await claim.renew();
      const stored = await storeOutputs(claim.videoId, dir, chooseCover(output.stdout, plan.covers), signal);
      const made = { width: plan.width, height: plan.height, durationMs };
      await claim.complete({ ...made, playKey: stored.playKey, coverKey: stored.coverKey });
      return {
        ...made,
        inputBytes,
        outputBytes: stored.bytes,
        fetchMs: Math.round(fetchedAt - startedAt),
        transcodeMs: Math.round(transcodedAt - fetchedAt),
        storeMs: Math.round(performance.now() - transcodedAt),
      };
    });

  /** Bytes of the upload. */
  async function fetchInput(rawKey: string, dir: string, signal: AbortSignal): Promise<number> {
    const path = join(dir, inputFile);
    try {
      await store.getFile(rawKey, path, { maxBytes: limits.maxInputBytes, signal });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ObjectNotFound) throw gone();
      if (error instanceof ObjectTooLarge) throw tooLarge(limits);
      throw error;
    }
    return (await stat(path)).size;
  }

  async function probeInput(dir: string, signal: AbortSignal): Promise<Probe> {
    try {
      return await ffmpeg.probe(dir, inputFile, { maxPixels: limits.maxPixels, signal });
    } catch (error) {
      throw blame(error, whyUnreadable);
    }
  }

  async function run(dir: string, plan: Plan, signal: AbortSignal): Promise<FfmpegOutput> {
    try {
      return await ffmpeg.run(dir, plan, signal);
    } catch (error) {
      throw blame(error, whyUndecodable);
    }
  }

  function blame(error: unknown, why: (failure: FfmpegFailure, limits: Limits) => BadVideo | null): unknown {
    const bad = error instanceof FfmpegFailure ? why(error, limits) : null;
    if (bad) bad.cause = error;
    return bad ?? error;
  }

  /** Milliseconds of video that the run made. */
  async function check(dir: string, source: Probe, plan: Plan, output: FfmpegOutput, signal: AbortSignal) {
    const result = await ffmpeg.probe(dir, playFile, { maxPixels: limits.maxPixels, signal });
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

const tooLarge = ({ maxInputBytes }: Limits) => new BadVideo(`The file is larger than ${maxInputBytes} bytes.`);
const gone = () => new BadVideo("The uploaded file is no longer there. Please upload it again.");
