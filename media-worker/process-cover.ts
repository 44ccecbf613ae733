import { join } from "node:path";

import { ObjectNotFound, type ObjectStore } from "@flick/platform/object-store/object-store.ts";

import { BadUpload } from "./bad-upload.ts";
import type { Claim, Job } from "./claim.ts";
import type { Packet } from "./conform.ts";
import { inputFile, videoFormats } from "./ffmpeg-run.ts";
import { coverFolder, createOutputs } from "./outputs.ts";
import { planCover } from "./plan-cover.ts";
import type { Probe, ProbedStream } from "./probe.ts";
import type { ProcessorOptions } from "./process-video.ts";
import { readThumbHash } from "./thumb-hash.ts";

/** A wish for another cover; its upload is a rendition of the video. */
interface CoverJob extends Job {
  timeMs: bigint;
}

/** What it has become; `url` is an object key here. */
export interface MadeCover {
  coverKey: string;
  covers: { url: string; width: number; height: number; type: string }[];
  previewKey: string;
  thumbhash: string;
}

/** The same, for the log. */
interface Processed {
  /** The picture that is shown at the moment that was chosen. */
  pictureMs: number;
  inputBytes: number;
  outputBytes: number;
}

export type ProcessCover = (claim: Claim<CoverJob, MadeCover>, signal: AbortSignal) => Promise<Processed>;

/**
 * Makes the cover that its author has chosen, with all that belongs to it, out of a rendition of the video: fetch, find the picture, run,
 * store, complete. It is stored under names of this attempt; what others left, their service removes.
 *
 * It throws as `JobKindOptions.process` says.
 */
export function createCoverProcessor({ store, ffmpeg, workDir, limits }: ProcessorOptions): ProcessCover {
  const outputs = createOutputs(store);

  return (claim, signal) =>
    workDir.with(async (dir) => {
      const { jobId, fence, rawKey } = claim.job;
      const timeMs = Number(claim.job.timeMs);
      await fetchRendition(store, rawKey, dir, limits.maxOutputBytes, signal);
      const asked = { maxPixels: limits.maxPixels, formats: videoFormats, signal };
      const probe = await ffmpeg.probe(dir, inputFile, asked);
      const picture = probe.streams.find(({ type }) => type === "video");
      if (!picture) throw new Error("there is no picture in the rendition");
      const moment = {
        ...pictureAt(timeMs, probe, picture, await ffmpeg.packets(dir, inputFile, asked)),
        previewMs: timeMs,
        durationMs: (picture.duration ?? probe.duration ?? 0) * 1000,
      };
      const { width, height } = picture;
      const plan = planCover({ width, height, file: inputFile, previewFile: inputFile }, moment, limits);
      await ffmpeg.run(dir, plan.run, signal);
      const thumbhash = await readThumbHash(dir, plan.thumb);
      // Whoever lost the job in the meantime has no reason to store anything.
      await claim.renew();
      const prefix = `${coverFolder(jobId)}${fence}/`;
      const files = [...plan.covers.map(({ file }) => file), plan.preview];
      const outputBytes = await outputs.store(prefix, dir, files, signal);
      const covers = plan.covers.map(({ file, ...about }) => ({ url: prefix + file, ...about }));
      const coverKey = covers.findLast(({ type }) => type === "image/jpeg")?.url ?? "";
      await claim.complete({ coverKey, covers, previewKey: prefix + plan.preview, thumbhash });
      return { pictureMs: moment.timeMs, inputBytes: Bun.file(join(dir, inputFile)).size, outputBytes };
    });
}

async function fetchRendition(
  store: ObjectStore,
  key: string,
  dir: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    await store.getFile(key, join(dir, inputFile), { maxBytes, signal });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ObjectNotFound) throw new BadUpload("The video is no longer there to make a cover of.");
    throw error;
  }
}

/**
 * The picture that a player shows at a moment: the last one that began before it, however long it stands.
 *
 * @returns its time, and a rate at which the one before it is a picture away.
 */
export function pictureAt(
  timeMs: number,
  { start }: Pick<Probe, "start">,
  { index }: Pick<ProbedStream, "index">,
  packets: readonly Packet[],
): { timeMs: number; frameRate: number } {
  const times = packets
    .flatMap(({ stream, time, isDiscarded }) => (stream === index && time !== null && !isDiscarded ? [time] : []))
    .map((time) => (time - start) * 1000)
    .toSorted((a, b) => a - b);
  const after = times.findIndex((time) => time > timeMs);
  const at = Math.max(0, (after < 0 ? times.length : after) - 1);
  const shown = times[at] ?? 0;
  return { timeMs: shown, frameRate: 1000 / Math.max(1, shown - (times[at - 1] ?? 0)) };
}
