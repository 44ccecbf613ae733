import { setTimeout as sleep } from "node:timers/promises";

import { decodeChange } from "@flick/platform/cdc/change-event.ts";
import type { EventLog, ReceivedEvent } from "@flick/platform/event-log/event-log.ts";
import type { Log } from "@flick/platform/log.ts";

import type { JobKind } from "./job.ts";
import { createSlots } from "./slots.ts";

export interface ConsumerOptions {
  /** Their topics differ. */
  kinds: readonly JobKind[];
  events: EventLog;
  /** Jobs at work at once, of all kinds together, at most. */
  concurrency: number;
  /** How many of them may be at work now; 0 takes none. */
  allowed: () => number;
  sweepIntervalMs: number;
  log: Log;
}

export interface Consumer {
  /** Jobs at work now. */
  running(): number;
  /** Lets in who waits, if more are allowed now than before. */
  admit(): void;
  /**
   * Takes no more jobs, waits so long for those at work, then kills their FFmpeg and gives them back, for which there are another
   * three seconds.
   */
  stop(drainMs: number): Promise<void>;
}

export const videosTopic = "cdc.videos";
export const coversTopic = "cdc.video_covers";
export const imagesTopic = "cdc.profile_images";
export const mediaGroup = "media";

/** Time for telling the services about the jobs that a stop interrupted. */
const giveBackMs = 3_000;
/** A wake-up that fails for longer than this is left to the sweep. */
const retryDelaysMs = [1_000, 5_000, 15_000, 60_000];
/** Clocks of the worker and of the service may differ by so much; taking a job too early does nothing. */
const clockSkewMs = 2_000;
/** Jobs that are looked at for one that is still to be had: other workers look at the same ones. */
const offered = 16;

/**
 * Finds jobs in two ways that share the same slots: a change of a row that makes a job due wakes it up for one job, and a sweep looks
 * whether there is one, for when an event was lost, a worker died or a retry has come. Which job it takes then, and which of
 * several workers gets it, their service decides: nobody who uploads much keeps others waiting.
 */
export async function startConsumer(options: ConsumerOptions): Promise<Consumer> {
  const { kinds, events, concurrency, sweepIntervalMs, log } = options;
  const slots = createSlots(() => Math.min(concurrency, options.allowed()));
  const running = new Set<string>();
  const stopping = new AbortController();
  const halt = new AbortController();

  /** Waits for a slot and does the job that is next. Tells whether there was one. Throws when the service cannot be reached. */
  const workNext = (kind: JobKind) =>
    slots.use(async () => {
      for (const jobId of await kind.listDue(offered)) {
        const key = `${kind.topic} ${jobId}`;
        if (running.has(key)) continue;
        running.add(key);
        try {
          if (await kind.work(jobId, halt.signal)) return true;
        } finally {
          running.delete(key);
        }
      }
      return false;
    }, stopping.signal);

  /** Throws when the service cannot be reached: the event log then delivers the event again. */
  async function onEvent(event: ReceivedEvent): Promise<void> {
    const kind = kinds.find(({ topic }) => topic === event.topic);
    if (kind && makesDue(event)) await workNext(kind);
  }

  /** Works through what is due, as many jobs at once as there are slots; tells how many it did. */
  async function sweep(kind: JobKind): Promise<number> {
    // Mostly there is nothing, and one question tells all lanes.
    if ((await kind.listDue(1)).length === 0) return 0;
    let done = 0;
    const lane = async () => {
      while (await workNext(kind)) done++;
    };
    const lanes = await Promise.allSettled(Array.from({ length: concurrency }, lane));
    const broken = lanes.find((result) => result.status === "rejected");
    if (broken) throw broken.reason;
    return done;
  }

  async function sweepAgainAndAgain(kind: JobKind): Promise<void> {
    while (!stopping.signal.aborted) {
      const done = await sweep(kind).catch((error: unknown) => {
        if (!stopping.signal.aborted) log.warn("sweep failed", { topic: kind.topic, error });
        return 0;
      });
      // Somewhat random, so that workers which started together do not go on asking together.
      const pauseMs = done > 0 ? 0 : sweepIntervalMs * (0.8 + 0.4 * Math.random());
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  const subscription = await events.subscribe({
    group: mediaGroup,
    topics: kinds.map(({ topic }) => topic),
    // A busy worker leaves its wake-ups to others.
    concurrency,
    retryDelaysMs,
    handler: onEvent,
    onError({ attempt }, error, outcome) {
      if (!stopping.signal.aborted) log.warn("event failed", { attempt, outcome, error });
    },
  });
  const sweeping = kinds.map(sweepAgainAndAgain);

  return {
    running: () => running.size,
    admit: slots.admit,
    async stop(drainMs) {
      stopping.abort(new Error("the worker is stopping"));
      const timer = setTimeout(() => halt.abort(new Error("the worker is stopping")), drainMs);
      await Promise.all([subscription.close(drainMs + giveBackMs), ...sweeping]);
      clearTimeout(timer);
    },
  };
}

/** Does a change make a job due now? */
function makesDue(event: ReceivedEvent): boolean {
  const { after } = decodeChange(event.value);
  return after?.["status"] === "uploaded" && Number(after["job_due_at"]) <= Date.now() + clockSkewMs;
}
