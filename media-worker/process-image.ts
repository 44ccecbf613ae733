import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { ImageKind } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";

import { BadUpload } from "./bad-upload.ts";
import type { Claim, Job } from "./claim.ts";
import { fetchInput } from "./fetch-input.ts";
import type { Ffmpeg, FfmpegFailure } from "./ffmpeg.ts";
import { imageFile, imageFormats, planImage, type ImageLimits, type ImageShape } from "./plan-image.ts";
import { inputFile } from "./ffmpeg-run.ts";
import { tooManyPixels } from "./limits.ts";
import { forever } from "./outputs.ts";
import type { ProcessorOptions } from "./process-video.ts";
import { blame, crashes, lacksSomething } from "./verdict.ts";
import { firstFrame } from "./webp.ts";

export interface ImageJob extends Job {
  userId: bigint;
  kind: ImageKind;
}

export interface MadeImage {
  imageKey: string;
}

/** What became of a picture, for the log. */
interface Processed {
  shape: ImageShape;
  width: number;
  height: number;
  inputBytes: number;
  outputBytes: number;
}

export type ProcessImage = (claim: Claim<ImageJob, MadeImage>, signal: AbortSignal) => Promise<Processed>;

const shapes: Partial<Record<ImageKind, ImageShape>> = {
  [ImageKind.AVATAR]: "avatar",
  [ImageKind.BACKGROUND]: "background",
};

/**
 * Makes of an upload, which is read into memory, a picture for its owner's profile: fetch, run, check, store, complete. Doing it again gives the same object.
 * It throws as `JobKindOptions.process` says.
 */
export function createImageProcessor({
  store,
  ffmpeg,
  workDir,
  limits,
}: Omit<ProcessorOptions, "limits"> & { limits: ImageLimits }): ProcessImage {
  return (claim, signal) =>
    workDir.with(async (dir) => {
      const { rawKey, jobId, userId, kind } = claim.job;
      const shape = shapes[kind];
      if (!shape) throw new Error("the job is of a kind that this worker does not know");
      const { bytes: inputBytes } = await fetchInput(store, rawKey, dir, { maxBytes: limits.maxInputBytes, signal });
      await stopAnimation(join(dir, inputFile));
      await run(ffmpeg, dir, shape, limits, signal);
      const size = await check(ffmpeg, dir, limits, signal);
      // Whoever lost the job in the meantime must not write over what its new holder stored.
      await claim.renew();
      const imageKey = `users/${userId}/${jobId}-${shape}.jpg`;
      await storePicture(store, imageKey, join(dir, imageFile), signal);
      await claim.complete({ imageKey });
      return { shape, ...size, inputBytes, outputBytes: (await stat(join(dir, imageFile))).size };
    });
}

async function stopAnimation(path: string): Promise<void> {
  const still = firstFrame(await readFile(path));
  if (still) await writeFile(path, still);
}

async function run(
  ffmpeg: Ffmpeg,
  dir: string,
  shape: ImageShape,
  limits: ImageLimits,
  signal: AbortSignal,
): Promise<void> {
  try {
    await ffmpeg.run(dir, planImage(shape, limits), signal);
  } catch (error) {
    throw blame(error, (failure) => whyBad(failure, limits));
  }
}

/** What is wrong with a picture; null when that was not its fault. */
function whyBad({ kind, message, output }: FfmpegFailure, limits: ImageLimits): BadUpload | null {
  if (kind === "signal" && crashes.test(message)) return new BadUpload(unreadable);
  if (kind !== "exit" || lacksSomething(output)) return null;
  // FFmpeg checks sizes against a limit of its own too.
  if (/max pixel count|Picture size .* is invalid/.test(output.stderr)) return tooManyPixels(limits);
  return new BadUpload(unreadable);
}

/** Looks at the picture before anybody sees it. */
async function check(
  ffmpeg: Ffmpeg,
  dir: string,
  { maxPixels }: ImageLimits,
  signal: AbortSignal,
): Promise<{ width: number; height: number }> {
  const { streams } = await ffmpeg.probe(dir, imageFile, { maxPixels, formats: imageFormats, signal });
  const [picture] = streams;
  if (streams.length !== 1 || picture?.codec !== "mjpeg") throw new Error("the result is not a JPEG");
  return { width: picture.width, height: picture.height };
}

async function storePicture(store: ObjectStore, key: string, path: string, signal: AbortSignal): Promise<void> {
  try {
    await store.put(key, path, { ...forever, contentType: "image/jpeg", signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

const unreadable = "This picture is damaged, or of a kind that we cannot read. JPEG, PNG, WebP and GIF are fine.";
