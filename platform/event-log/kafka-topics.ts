import type { Admin, IResourceConfigEntry } from "kafkajs";

import { checkTopic, limits } from "./limits.ts";
import type { TopicSpec } from "./event-log.ts";

/** A record of the largest size, with its key and the headers of a dead letter, has room in a batch. */
const maxMessageBytes = 2 * limits.valueBytes;
const createMs = 15_000;

/** A topic that is used and is not there: nothing makes topics by accident. */
export class TopicMissing extends Error {
  override name = "TopicMissing";
  constructor(topics: readonly string[]) {
    const list = topics.slice(0, 20).join(", ");
    super(
      `Kafka has no topic ${list}${topics.length > 20 ? ", …" : ""}. Create all that Flick uses with: bun run events topics`,
    );
  }
}

/** What is created where a {@link TopicSpec} does not say it. */
export interface TopicDefaults {
  partitions: number;
  replication: number;
}

/**
 * Creates the topics that are missing, and returns their names.
 *
 * @throws {Error} names each topic that has fewer partitions than it should: more partitions would give keys other places, so that
 * their order is lost, which is for a person to decide.
 */
export async function createKafkaTopics(
  admin: Admin,
  specs: readonly TopicSpec[],
  defaults: TopicDefaults,
): Promise<string[]> {
  for (const { name } of specs) checkTopic(name);
  const present = new Set(await admin.listTopics());
  const missing = specs.filter(({ name }) => !present.has(name));
  const shrunk = await tooFewPartitions(
    admin,
    specs.filter(({ name }) => present.has(name)),
    defaults,
  );
  if (shrunk.length > 0) throw new Error(shrunk.join("\n"));
  if (missing.length === 0) return [];
  await admin.createTopics({
    topics: missing.map(({ name, partitions = defaults.partitions, ...rest }) => ({
      topic: name,
      numPartitions: partitions,
      replicationFactor: defaults.replication,
      configEntries: configOf(rest, defaults.replication),
    })),
    timeout: createMs,
    waitForLeaders: true,
  });
  return missing.map(({ name }) => name);
}

/** @throws {TopicMissing} names those that are not there. */
export async function checkKafkaTopics(admin: Admin, names: readonly string[]): Promise<void> {
  const present = new Set(await admin.listTopics());
  const missing = names.filter((name) => !present.has(name));
  if (missing.length > 0) throw new TopicMissing(missing);
}

async function tooFewPartitions(admin: Admin, specs: readonly TopicSpec[], defaults: TopicDefaults): Promise<string[]> {
  if (specs.length === 0) return [];
  const { topics } = await admin.fetchTopicMetadata({ topics: specs.map(({ name }) => name) });
  return specs.flatMap(({ name, partitions = defaults.partitions }) => {
    const has = topics.find((topic) => topic.name === name)?.partitions.length ?? 0;
    if (has >= partitions) return [];
    return [
      `Topic ${name} has ${has} partitions, and ${partitions} are wanted. Set KAFKA_PARTITIONS to ${has}, or add partitions with ` +
        "kafka-topics.sh --alter while nobody writes and all groups have read everything: keys then move to other partitions.",
    ];
  });
}

function configOf(
  { retentionMs, compact }: Pick<TopicSpec, "retentionMs" | "compact">,
  replication: number,
): IResourceConfigEntry[] {
  const settings: Record<string, string> = {
    "cleanup.policy": compact ? "compact" : "delete",
    "retention.ms": String(compact ? -1 : (retentionMs ?? defaultRetentionMs)),
    "max.message.bytes": String(maxMessageBytes),
    // acks=all means so many copies; with three of them one broker may be away.
    "min.insync.replicas": String(Math.max(1, replication - 1)),
  };
  return Object.entries(settings).map(([name, value]) => ({ name, value }));
}

const defaultRetentionMs = 7 * 24 * 3_600_000;
