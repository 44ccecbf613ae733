import type { Log } from "@flick/platform/log.ts";

import { BadVideo } from "./bad-video.ts";
import type { Claim } from "./claim.ts";
import { FfmpegFailure } from "./ffmpeg.ts";
import type { ProcessVideo } from "./process-video.ts";

/**
 * Carries a claimed job to its end, whatever that is, and logs it. Never throws.
 * @param halt aborts when the worker has to stop at once.
 */
export type RunJob = (claim: Claim, halt: AbortSignal) => Promise<void>;

/** What the author reads when the last attempt ends with a fault of ours. */
const ourFault = "This video could not be processed. Please upload it again.";
/** Also when the worker is stopping: the lease lapses soon enough. */
const tellWithinMs = 2_000;
const loggedStderr = 2_000;

export function createJobRunner({ processVideo, log }: { processVideo: ProcessVideo; log: Log }): RunJob {
  return async (claim, halt) => {
    const { tag: video, attempt } = claim;
    const startedAt = performance.now();
    log.info("job taken", { video, attempt });
    try {
      const processed = await processVideo(claim, AbortSignal.any([claim.signal, halt]));
      log.info("job ready", { video, attempt, totalMs: Math.round(performance.now() - startedAt), ...processed });
    } catch (error) {
      await giveUp(claim, error, halt);
    } finally {
      claim.drop();
    }
  };

  async function giveUp(claim: Claim, error: unknown, halt: AbortSignal): Promise<void> {
    const { tag: video, attempt } = claim;
    if (claim.signal.aborted) {
      log.warn("job lost", { video, attempt, why: String(claim.signal.reason) });
      return;
    }
    const bad = error instanceof BadVideo;
    const reason = bad ? error.message : ourFault;
    const fault = bad ? error.cause : error;
    const fields = { video, attempt, permanent: bad, reason, ...(fault ? { fault: describe(fault, claim) } : {}) };
    try {
      const giveUpAt = halt.aborted ? AbortSignal.timeout(tellWithinMs) : halt;
      const retryInMs = await claim.fail(reason, bad, giveUpAt);
      log.warn("job failed", { ...fields, retryInMs });
    } catch (failError) {
      log.warn("job failed, and the video service does not know", { ...fields, tellFault: describe(failError, claim) });
    }
  }
}

/** An error as text in which the video goes by its tag. */
function describe(error: unknown, claim: Claim): string {
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  const stderr = error instanceof FfmpegFailure ? `\n${error.output.stderr.slice(-loggedStderr)}` : "";
  return `${text}${stderr}`.replaceAll(claim.rawKey, "<upload>").replaceAll(String(claim.videoId), claim.tag);
}
