import { auditCache, type Lie } from "./cache-audit.ts";
import { drained } from "./change-log.ts";
import type { Fleet } from "./fleet.ts";
import type { Viewers } from "./fleet-viewers.ts";
import { startLoad } from "./load.ts";

export interface KafkaOutage {
  failedReads: string[];
  failedWrites: string[];
  /** Acknowledged writes while Kafka was away, and in all. */
  writesMeanwhile: number;
  writes: number;
  /** From Kafka's return until nobody had anything left to do. */
  caughtUpMs: number;
  wrongCounts: string[];
  /** Cached keys compared with the database, and those that differed. */
  compared: number;
  lies: Lie[];
}

const drainedWithinMs = 120_000;

/**
 * Stops Kafka for a while under load, during which two videos are published, and waits until all has come right.
 *
 * @throws when it does not: a video is not ready, or a consumer has a lag.
 */
export async function kafkaOutage(fleet: Fleet, viewers: Viewers, downMs: number): Promise<KafkaOutage> {
  const { kafka } = fleet;
  if (!kafka) throw new Error("this fleet has no Kafka");
  const videos = [await viewers.publish(), await viewers.publish()];
  await viewers.ready(videos);
  const load = startLoad({ call: fleet.call, people: viewers.people, videos });
  await load.goOn(10);
  await kafka.stop();
  const before = load.writes();
  const backAt = performance.now() + downMs;
  const published = [await viewers.publish(), await viewers.publish()];
  await Bun.sleep(Math.max(0, backAt - performance.now()));
  const writesMeanwhile = load.writes() - before;
  await kafka.start();
  const since = performance.now();
  await load.goOn(10);
  await load.stop();
  await viewers.ready(published);
  await drained(fleet.eventLog, fleet.urls, drainedWithinMs);
  const caughtUpMs = Math.round(performance.now() - since);
  const wrongCounts = await viewers.wrongCounts(load);
  const { failedReads, failedWrites } = load;
  const writes = load.writes();
  return {
    failedReads,
    failedWrites,
    writesMeanwhile,
    writes,
    caughtUpMs,
    wrongCounts,
    ...(await auditCache(fleet.urls)),
  };
}
