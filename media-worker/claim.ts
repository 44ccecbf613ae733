import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

/** The service that keeps the jobs of one kind: a client of `MediaJobService` or of `ImageJobService`. */
export interface JobService<J extends Job, Made> {
  claimJob(request: { jobId: bigint }): Promise<{ job?: J | undefined }>;
  renewJob(request: ClaimedJob & { percent?: number }): Promise<{ leaseMs: bigint }>;
  completeJob(request: ClaimedJob & Made): Promise<object>;
  failJob(
    request: ClaimedJob & { reason: string; permanent: boolean; interrupted: boolean },
    options: { signal: AbortSignal },
  ): Promise<{ retryInMs: bigint }>;
  listDueJobs(request: { limit: number }): Promise<{ jobIds: bigint[] }>;
}

interface ClaimedJob {
  jobId: bigint;
  /** Fencing number of the claim. */
  fence: bigint;
}

/** How an attempt ended: for good, with a fault that may pass, or because the worker has to stop or has no room. */
export type Fault = "permanent" | "transient" | "interrupted";

/** What every kind of job says of itself. */
export interface Job extends ClaimedJob {
  /** Object key of the upload. */
  rawKey: string;
  /** 1 for the first try. */
  attempt: number;
  leaseMs: bigint;
}

/** A job that this worker holds. The lease is renewed at a third of its length until the job has ended. */
export interface Claim<J extends Job, Made> {
  readonly job: J;
  /** Names the job in logs, which ids never reach. */
  readonly tag: string;
  /** Aborts with {@link ClaimLost} when somebody else may have the job. */
  readonly signal: AbortSignal;
  /** Makes sure that the job is still ours, and for a whole lease. */
  renew(): Promise<void>;
  /** Tells how much of the work is done, 0 to 100: about once a second, and with every renewal. */
  progress(percent: number): void;
  /** Hands over what was made. */
  complete(made: Made): Promise<void>;
  /**
   * Ends the attempt.
   * @param signal gives up on telling the service; the lease then lapses.
   * @returns milliseconds until the next attempt, 0 when there is none.
   */
  fail(reason: string, fault: Fault, signal: AbortSignal): Promise<number>;
  /** Lets go of the lease without a word; to be called in every case. */
  drop(): void;
}

/** The job was taken over, ended or deleted, or the lease ran out while the service could not be reached. */
class ClaimLost extends Error {
  override name = "ClaimLost";
}

const retryAfterMs = 1000;
const tellProgressAfterMs = 1000;

/** Takes a job if it is due and nobody holds it; null when there is nothing to do. */
export async function claimJob<J extends Job, Made>(
  jobs: JobService<J, Made>,
  jobId: bigint,
): Promise<Claim<J, Made> | null> {
  const askedAt = performance.now();
  const { job } = await jobs.claimJob({ jobId });
  return job ? holdClaim(jobs, job, askedAt) : null;
}

function holdClaim<J extends Job, Made>(jobs: JobService<J, Made>, job: J, claimedAt: number): Claim<J, Made> {
  const { jobId, fence } = job;
  const claim = { jobId, fence };
  const lost = new AbortController();
  let leaseMs = Number(job.leaseMs);
  let percent = 0;
  let toldAt = claimedAt;
  let renewal: NodeJS.Timeout | undefined;
  let lapse: NodeJS.Timeout | undefined;
  const lose = (why: string) => lost.abort(new ClaimLost(why));

  /** @param askedAt from when the service counts at the earliest: the lease is never thought longer than it is. */
  function lease(askedAt: number): void {
    const left = Math.max(0, askedAt + leaseMs - performance.now());
    clearTimeout(lapse);
    lapse = setTimeout(() => lose("the lease lapsed"), left);
    renewLater(left / 3);
  }

  function renewLater(ms: number): void {
    clearTimeout(renewal);
    renewal = setTimeout(() => void keep(), ms);
  }

  async function keep(): Promise<void> {
    const mine = renewal;
    try {
      const askedAt = performance.now();
      toldAt = askedAt;
      leaseMs = Number((await jobs.renewJob({ ...claim, percent })).leaseMs);
      if (renewal === mine) lease(askedAt);
    } catch (error) {
      // The job may have been ended, or renewed, by ourselves in the meantime.
      if (renewal !== mine) return;
      if (reasonOf(error) === Reason.CLAIM_LOST) lose("somebody else has the job, or it has ended");
      else renewLater(Math.min(retryAfterMs, leaseMs / 9));
    }
  }

  function stopRenewing(): void {
    clearTimeout(renewal);
    renewal = undefined;
  }

  /** Repeats a call that does not get through, as long as the claim lasts. */
  async function insist<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await call();
      } catch (error) {
        if (reasonOf(error) === Reason.CLAIM_LOST) lose("somebody else has the job, or it has ended");
        signal.throwIfAborted();
        if (refusals.has(reasonOf(error))) throw error;
        await sleep(retryAfterMs, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    }
  }

  lease(claimedAt);
  return {
    job,
    tag: tagOf(jobId),
    signal: lost.signal,
    async renew() {
      stopRenewing();
      await insist(async () => {
        const askedAt = performance.now();
        leaseMs = Number((await jobs.renewJob({ ...claim, percent })).leaseMs);
        lease(askedAt);
      }, lost.signal);
    },
    progress(done) {
      const whole = Math.min(100, Math.max(0, Math.floor(done)));
      if (whole <= percent) return;
      percent = whole;
      if (renewal !== undefined && performance.now() - toldAt >= tellProgressAfterMs) renewLater(0);
    },
    async complete(made) {
      stopRenewing();
      await insist(() => jobs.completeJob({ ...claim, ...made }), lost.signal);
    },
    async fail(reason, fault, signal) {
      const kind = { permanent: fault === "permanent", interrupted: fault === "interrupted" };
      stopRenewing();
      const either = AbortSignal.any([lost.signal, signal]);
      const { retryInMs } = await insist(() => jobs.failJob({ ...claim, reason, ...kind }, { signal: either }), either);
      return Number(retryInMs);
    },
    drop() {
      stopRenewing();
      clearTimeout(lapse);
    },
  };
}

/** Answers that another try does not change. */
const refusals = new Set([Reason.INVALID_PARAMETER, Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED]);

/** The first 48 bits of the id's SHA-256: enough to follow one job through the logs. */
function tagOf(jobId: bigint): string {
  return createHash("sha256").update(String(jobId)).digest("hex").slice(0, 12);
}
