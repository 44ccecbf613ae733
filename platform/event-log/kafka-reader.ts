import type { Kafka } from "kafkajs";

import { createKafkaCluster, readCommitted, type FetchedMessage, type KafkaCluster } from "./kafka-client.ts";

export interface KafkaReader {
  /** Records of one partition from an offset up to another one (exclusive), oldest first, at most `limit`. Belongs to no group. */
  read(options: {
    topic: string;
    partition: number;
    from: number;
    to: number;
    limit: number;
  }): Promise<FetchedMessage[]>;
  close(): Promise<void>;
}

const bytesAtATime = 4 * 1024 * 1024;
const maxWaitTime = 1_000;
/** Fetches in a row that bring nothing. */
const mostEmpty = 10;

export function createKafkaReader(client: Kafka): KafkaReader {
  let cluster: Promise<KafkaCluster> | null = null;

  return {
    async read({ topic, partition, from, to, limit }) {
      const connected = await (cluster ??= connect());
      try {
        const found: FetchedMessage[] = [];
        for (let next = from, empty = 0; next < to && found.length < limit && empty < mostEmpty;) {
          const messages = await fetch(connected, topic, partition, next);
          // A fetch begins with the batch that holds the offset, which may begin before it.
          const fresh = messages.filter(({ offset }) => Number(offset) >= next);
          next = Math.max(next, ...fresh.map(({ offset }) => Number(offset) + 1));
          found.push(...fresh.filter(({ offset, isControlRecord }) => !isControlRecord && Number(offset) < to));
          empty = fresh.length === 0 ? empty + 1 : 0;
        }
        return found.slice(0, limit);
      } catch (error) {
        cluster = null;
        await connected.disconnect().catch(() => {});
        throw error;
      }
    },
    async close() {
      await cluster?.then((connected) => connected.disconnect()).catch(() => {});
    },
  };

  async function connect(): Promise<KafkaCluster> {
    const created = createKafkaCluster(client);
    try {
      await created.connect();
      return created;
    } catch (error) {
      cluster = null;
      throw error;
    }
  }

  async function fetch(
    connected: KafkaCluster,
    topic: string,
    partition: number,
    offset: number,
  ): Promise<FetchedMessage[]> {
    await connected.addTargetTopic(topic);
    await connected.refreshMetadataIfNecessary();
    const [nodeId] = Object.keys(connected.findLeaderForPartitions(topic, [partition]));
    if (nodeId === undefined) throw new Error(`partition ${partition} of ${topic} has no leader at the moment`);
    const broker = await connected.findBroker({ nodeId });
    const { responses } = await broker.fetch({
      maxWaitTime,
      minBytes: 1,
      maxBytes: bytesAtATime,
      isolationLevel: readCommitted,
      topics: [{ topic, partitions: [{ partition, fetchOffset: String(offset), maxBytes: bytesAtATime }] }],
    });
    return responses.flatMap(({ partitions }) => partitions.flatMap(({ messages }) => messages));
  }
}
