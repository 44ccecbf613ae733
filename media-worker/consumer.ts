import { setTimeout as sleep } from "node:timers/promises";

import { decodeChange } from "@flick/platform/cdc/change-event.ts";
import type { EventLog, ReceivedEvent } from "@flick/platform/event-log/event-log.ts";
import type { Log } from "@flick/platform/log.ts";

import { claimJob, type MediaJobs } from "./claim.ts";
import type { RunJob } from "./job.ts";
import { createSlots } from "./slots.ts";

export interface ConsumerOptions {
  jobs: MediaJobs;
  events: EventLog;
  runJob: RunJob;
  /** Jobs at work at once. */
  concurrency: number;
  sweepIntervalMs: number;
  log: Log;
}

export interface Consumer {
  /** Jobs at work now. */
  running(): number;
  /**
   * Takes no more jobs, waits so long for those at work, then kills their FFmpeg and gives them back, for which there are another
   * three seconds.
   */
  stop(drainMs: number): Promise<void>;
}

export const videosTopic = "cdc.videos";
export const mediaGroup = "media";

/** Time for telling the video service about the jobs that a stop interrupted. */
const giveBackMs = 3_000;
/** A wake-up that fails for longer than this is left to the sweep. */
const retryDelaysMs = [1_000, 5_000, 15_000, 60_000];
/** Clocks of the worker and of the service may differ by so much; taking a job too early does nothing. */
const clockSkewMs = 2_000;
const dueJobsPerSweep = 50;

/**
 * Finds jobs in two ways that share the same slots: a change of `videos` wakes it up at once, and a sweep asks for what is due, for
 * when an event was lost, a worker died or a retry has come. Which of several workers gets a job, the video service decides.
 */
export async function startConsumer(options: ConsumerOptions): Promise<Consumer> {
  const { jobs, events, runJob, concurrency, sweepIntervalMs, log } = options;
  const slots = createSlots(concurrency);
  const running = new Set<bigint>();
  const stopping = new AbortController();
  const halt = new AbortController();

  /** Waits for a slot and does the job, if it is still to be had. Tells whether it was. */
  const work = (videoId: bigint) =>
    slots.use(async () => {
      if (running.has(videoId)) return false;
      running.add(videoId);
      try {
        const claim = await claimJob(jobs, videoId);
        if (!claim) return false;
        await runJob(claim, halt.signal);
        return true;
      } finally {
        running.delete(videoId);
      }
    }, stopping.signal);

  /** Throws when the service cannot be reached: the event log then delivers the event again. */
  async function onEvent(event: ReceivedEvent): Promise<void> {
    const videoId = dueVideo(event);
    if (videoId !== null) await work(videoId);
  }

  /** Works through what is due, as many jobs at once as there are slots; tells how many it did. */
  async function sweep(): Promise<number> {
    const { videoIds } = await jobs.listDueJobs({ limit: dueJobsPerSweep });
    const queue = videoIds.values();
    let done = 0;
    const lane = async () => {
      for (const videoId of queue) if (await work(videoId)) done++;
    };
    const lanes = await Promise.allSettled(Array.from({ length: concurrency }, lane));
    const broken = lanes.find((result) => result.status === "rejected");
    if (broken) throw broken.reason;
    return done;
  }

  async function sweepAgainAndAgain(): Promise<void> {
    while (!stopping.signal.aborted) {
      const done = await sweep().catch((error: unknown) => {
        if (!stopping.signal.aborted) log.warn("sweep failed", { error });
        return 0;
      });
      // Somewhat random, so that workers which started together do not go on asking together.
      const pauseMs = done > 0 ? 0 : sweepIntervalMs * (0.8 + 0.4 * Math.random());
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  const subscription = await events.subscribe({
    group: mediaGroup,
    topics: [videosTopic],
    // A busy worker leaves its wake-ups to others.
    concurrency,
    retryDelaysMs,
    handler: onEvent,
    onError({ attempt }, error, outcome) {
      if (!stopping.signal.aborted) log.warn("event failed", { attempt, outcome, error });
    },
  });
  const sweeping = sweepAgainAndAgain();

  return {
    running: () => running.size,
    async stop(drainMs) {
      stopping.abort(new Error("the worker is stopping"));
      const timer = setTimeout(() => halt.abort(new Error("the worker is stopping")), drainMs);
      await Promise.all([subscription.close(drainMs + giveBackMs), sweeping]);
      clearTimeout(timer);
    },
  };
}

/** The video that a change makes due now, or null. */
function dueVideo(event: ReceivedEvent): bigint | null {
  const { after } = decodeChange(event.value);
  if (after?.["status"] !== "uploaded") return null;
  return Number(after["job_due_at"]) <= Date.now() + clockSkewMs ? BigInt(String(after["id"])) : null;
}
