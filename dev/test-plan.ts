import type { TestFile } from "./test-files.ts";

/**
 * Files side by side. Most of them wait most of the time, so that four are done sooner than two even on two cores; those that keep a core
 * busy take two places.
 */
export const allPlaces = 4;

const endToEnd = (...names: string[]) => names.map((name) => `e2e/${name}.test.ts`);

/**
 * Nobody is beside these. One says how many milliseconds everything may take, one how many programs may start anew and fail no call, and
 * one makes 200 calls at once, of which Redis has to count each in time.
 */
const alone = [...endToEnd("feed-cache", "scale-out"), "edge-gateway/rate-limit.test.ts"];

/** What transcodes, puts a whole stack under load, or runs Flink. */
const busy = [...endToEnd("balancing", "kafka-faults", "publish", "worker-kills"), "dev/flink-cdc.test.ts"];

/** What starts much and then waits for long. As what is busy, they come after all that expects an answer within a second or so. */
const patient = ["dev/stack.test.ts", "platform/event-log/kafka.test.ts", "platform/event-log/open.test.ts"];

/** The longest first, so that none of them is left over when all else is done. It does no harm when this is not quite so any more. */
const longest = [
  "edge-gateway/rate-limit-location.test.ts",
  "edge-gateway/discovery.test.ts",
  "platform/live-config/follow-redis.test.ts",
  "origin-services/auth.test.ts",
  "edge-gateway/revocations.test.ts",
  "edge-gateway/feed-cache-stale.test.ts",
  "platform/event-log/redis-streams.test.ts",
  "edge-gateway/feed-cache-shared.test.ts",
  "origin-services/message/stream.test.ts",
  "platform/cdc/tailer-position.test.ts",
  "platform/cdc/tailer-outages.test.ts",
  "origin-services/invariants.test.ts",
  "edge-gateway/auth.test.ts",
  "dev/config/main.test.ts",
  "dev/upstash-front/outages.test.ts",
  "platform/event-log/kafka.test.ts",
  "media-worker/corpus/corpus.test.ts",
  ...endToEnd("faults", "cache-truth"),
  "dev/flink-cdc.test.ts",
  ...endToEnd("kafka-faults", "upload"),
  "media-worker/process-video.test.ts",
  ...endToEnd("balancing"),
  "media-worker/worker.test.ts",
  ...endToEnd("worker-kills", "live-config"),
  "media-worker/process-video-refusals.test.ts",
  "media-worker/worker-failures.test.ts",
  "dev/stack.test.ts",
  "media-worker/process-image.test.ts",
  ...endToEnd("publish"),
];

/** A whole run has these once more, with the event log on Kafka: a video from its upload to the feed, likes to the cache, chats in order. */
export const onKafkaToo = endToEnd("publish", "social", "cache-truth", "chat");

/** In which order the files begin, and how many places each takes. */
export function planTests(files: readonly string[]): TestFile[] {
  const order = (file: string) => 1000 * turnOf(file) + (longest.indexOf(file) + 1 || longest.length + 1);
  return files.toSorted((one, other) => order(one) - order(other)).map((file) => ({ file, places: placesOf(file) }));
}

/** {@link planTests}, and among them those that are run on Kafka, too. */
export function planWholeRun(files: readonly string[]): TestFile[] {
  const plan = planTests(files);
  const again = onKafkaToo.map((file) => ({
    file,
    name: `${file} on Kafka`,
    env: { FLICK_TEST_STACK: "kafka" },
    places: placesOf(file),
  }));
  const last = plan.findIndex(({ file }) => turnOf(file) === turns.alone);
  return plan.toSpliced(last < 0 ? plan.length : last, 0, ...again);
}

const turns = { first: 0, second: 1, alone: 2 };

function turnOf(file: string): number {
  if (alone.includes(file)) return turns.alone;
  return /^(e2e|media-worker)\//.test(file) || busy.includes(file) || patient.includes(file)
    ? turns.second
    : turns.first;
}

function placesOf(file: string): number {
  if (alone.includes(file)) return allPlaces;
  return file.startsWith("media-worker/") || busy.includes(file) ? 2 : 1;
}

/** For a test that they have not been renamed. */
export const namedFiles = [...alone, ...busy, ...patient, ...longest, ...onKafkaToo];
