import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";

import type { Claim, Job } from "./claim.ts";
import { fetchInput } from "./fetch-input.ts";
import type { Ffmpeg } from "./ffmpeg.ts";
import type { Limits } from "./limits.ts";
import { makeVideo, type MadeFiles } from "./make-video.ts";
import { createOutputs } from "./outputs.ts";
import type { WorkDir } from "./work-dir.ts";

export interface ProcessorOptions {
  store: ObjectStore;
  ffmpeg: Ffmpeg;
  workDir: WorkDir;
  limits: Limits;
}

/** What a video has become; `url` is an object key here. */
export interface MadeVideo {
  playKey: string;
  coverKey: string;
  width: number;
  height: number;
  durationMs: bigint;
  /** Of the upload. */
  sha256: string;
  renditions: { url: string; width: number; height: number; bitrate: number; bytes: bigint }[];
  hlsKey: string;
  covers: { url: string; width: number; height: number; type: string }[];
  previewKey: string;
  thumbhash: string;
  coverTimeMs: bigint;
}

/** The same, for the log. */
interface Processed {
  width: number;
  height: number;
  durationMs: number;
  renditions: number;
  copied: string;
  inputBytes: number;
  outputBytes: number;
  fetchMs: number;
  transcodeMs: number;
  storeMs: number;
  /** What went wrong after the end. */
  leftovers?: string;
}

/** A job with a video: its client may have announced a SHA-256. */
interface VideoJob extends Job {
  sha256: string;
}

export type ProcessVideo = (claim: Claim<VideoJob, MadeVideo>, signal: AbortSignal) => Promise<Processed>;

/** Work that is done, in percent, when the file is here, when it is transcoded, and when all is stored. */
const fetched = 5;
const transcoded = 92;

/**
 * Makes of an upload what players play: fetch, make, store, complete. Every attempt stores under a name of its own
 * (the fencing number is in it), so that nothing of two attempts is ever mixed; what former ones left is removed in the end.
 *
 * The processor throws {@link BadUpload} when the file is at fault, the signal's reason when it aborts, and anything else for
 * faults that may pass.
 */
export function createVideoProcessor({ store, ffmpeg, workDir, limits }: ProcessorOptions): ProcessVideo {
  const outputs = createOutputs(store);

  return (claim, signal) =>
    workDir.with(async (dir) => {
      const { jobId, fence, rawKey, sha256: announced } = claim.job;
      const startedAt = performance.now();
      const fetching = { maxBytes: limits.maxInputBytes, sha256: announced, signal };
      const { bytes: inputBytes, sha256 } = await fetchInput(store, rawKey, dir, fetching);
      const fetchedAt = performance.now();
      claim.progress(fetched);
      const made = await makeVideo({ ffmpeg, dir, limits, inputBytes, signal }, (share) => {
        claim.progress(fetched + share * (transcoded - fetched));
      });
      const transcodedAt = performance.now();
      claim.progress(transcoded);
      // Whoever lost the job in the meantime has no reason to store anything.
      await claim.renew();
      const prefix = `videos/${jobId}/${fence}/`;
      const outputBytes = await outputs.store(prefix, dir, made.all, signal);
      await claim.complete({ ...describe(prefix, made), sha256 });
      const tidied = await outputs.removeOthers(jobId, prefix);
      const { width, height } = made.play;
      return {
        width,
        height,
        durationMs: made.durationMs,
        renditions: made.renditions.length,
        copied: made.copied.join(" "),
        inputBytes,
        outputBytes,
        fetchMs: Math.round(fetchedAt - startedAt),
        transcodeMs: Math.round(transcodedAt - fetchedAt),
        storeMs: Math.round(performance.now() - transcodedAt),
        ...(tidied ? {} : { leftovers: "of former attempts could not be removed" }),
      };
    });
}

function describe(prefix: string, made: MadeFiles): Omit<MadeVideo, "sha256"> {
  const { play, cover, renditions, covers, durationMs, thumbhash, coverTimeMs } = made;
  return {
    playKey: prefix + play.file,
    coverKey: prefix + cover.file,
    width: play.width,
    height: play.height,
    durationMs: BigInt(durationMs),
    renditions: renditions.map(({ file, width, height, bytes }) => {
      const bitrate = Math.round((bytes * 8000) / durationMs);
      return { url: prefix + file, width, height, bitrate, bytes: BigInt(bytes) };
    }),
    hlsKey: prefix + made.master,
    covers: covers.map(({ file, width, height, type }) => ({ url: prefix + file, width, height, type })),
    previewKey: prefix + made.preview,
    thumbhash,
    coverTimeMs: BigInt(coverTimeMs),
  };
}
