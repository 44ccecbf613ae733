import type { Log } from "@flick/platform/log.ts";

import { BadUpload } from "./bad-upload.ts";
import { claimJob, type Claim, type Job, type JobService } from "./claim.ts";
import { NoRoom } from "./disk-budget.ts";
import { FfmpegFailure } from "./ffmpeg.ts";

/** One kind of jobs, as whoever looks for work sees it. */
export interface JobKind {
  /** Where changes of its rows are told. */
  topic: string;
  /** Jobs that are due and held by nobody, in the order in which they should be taken. */
  listDue(limit: number): Promise<bigint[]>;
  /**
   * Takes a job, if it is still to be had, and carries it to its end, whatever that is. Tells whether there was something to do.
   * Throws only when the service cannot be reached for the claim.
   *
   * @param halt aborts when the worker has to stop at once.
   */
  work(jobId: bigint, halt: AbortSignal): Promise<boolean>;
}

export interface JobKindOptions<J extends Job, Made> {
  /** What its jobs are called in the log. */
  name: string;
  topic: string;
  jobs: JobService<J, Made>;
  /** Sets aside the disk that the work may take; returns what gives it back. @throws {NoRoom} and anything else. */
  reserve: (job: J, signal: AbortSignal) => Promise<() => void>;
  /**
   * Does the work and completes the claim; returns what the log should tell of it.
   *
   * @throws {BadUpload} when the file is at fault, the signal's reason when it aborts, and anything else for faults that may pass.
   */
  process: (claim: Claim<J, Made>, signal: AbortSignal) => Promise<object>;
  /** What is said when the last attempt ends with a fault of ours. */
  ourFault: string;
  /** Ids beside that of the job which may be in the text of an error. */
  otherIds: (job: J) => bigint[];
  log: Log;
}

/** Also when the worker is stopping: the lease lapses soon enough. */
const tellWithinMs = 2_000;
const loggedStderr = 2_000;

export function createJobKind<J extends Job, Made>(options: JobKindOptions<J, Made>): JobKind {
  const { name, topic, jobs, log } = options;

  return {
    topic,

    async listDue(limit) {
      return (await jobs.listDueJobs({ limit })).jobIds;
    },

    async work(jobId, halt) {
      const claim = await claimJob(jobs, jobId);
      if (!claim) return false;
      const startedAt = performance.now();
      const which = { [name]: claim.tag, attempt: claim.job.attempt };
      log.info("job taken", which);
      let release = () => {};
      try {
        const signal = AbortSignal.any([claim.signal, halt]);
        release = await options.reserve(claim.job, signal);
        const processed = await options.process(claim, signal);
        log.info("job ready", { ...which, totalMs: Math.round(performance.now() - startedAt), ...processed });
      } catch (error) {
        await giveUp(claim, error, halt, which);
      } finally {
        release();
        claim.drop();
      }
      return true;
    },
  };

  async function giveUp(claim: Claim<J, Made>, error: unknown, halt: AbortSignal, which: object): Promise<void> {
    if (claim.signal.aborted) {
      log.warn("job lost", { ...which, why: String(claim.signal.reason) });
      return;
    }
    const bad = error instanceof BadUpload;
    const fault = bad ? "permanent" : halt.aborted || error instanceof NoRoom ? "interrupted" : "transient";
    const reason = bad ? error.message : options.ourFault;
    const cause = bad ? error.cause : error;
    const fields = { ...which, ended: fault, reason, ...(cause ? { fault: describe(cause, claim) } : {}) };
    try {
      const giveUpAt = halt.aborted ? AbortSignal.timeout(tellWithinMs) : halt;
      const retryInMs = await claim.fail(reason, fault, giveUpAt);
      log.warn("job failed", { ...fields, retryInMs });
    } catch (failError) {
      log.warn("job failed, and its service does not know", { ...fields, tellFault: describe(failError, claim) });
    }
  }

  /** An error as text in which the job goes by its tag. */
  function describe(error: unknown, { job, tag }: Claim<J, Made>): string {
    const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
    const stderr = error instanceof FfmpegFailure ? `\n${error.output.stderr.slice(-loggedStderr)}` : "";
    const told = `${text}${stderr}`.replaceAll(job.rawKey, "<upload>").replaceAll(String(job.jobId), tag);
    return options.otherIds(job).reduce((safe, id) => safe.replaceAll(String(id), "<id>"), told);
  }
}
