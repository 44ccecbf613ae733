import type { Admin } from "kafkajs";

import type { Log } from "../log.ts";
import { nameOf, type HeldPartition } from "./kafka-partition.ts";

/** What kafkajs commits for "from the oldest record on". */
const earliest = -2;

/** How far a group has come, as Kafka has it; the offset is negative where nothing was committed. */
export interface StoredProgress {
  offset: number;
  metadata: string | null;
}

/** What a member asks Kafka about its group's offsets, and what it says of records that are gone. */
export interface GroupOffsets {
  stored(partitions: readonly HeldPartition[]): Promise<(partition: HeldPartition) => StoredProgress>;
  /** kafkajs found the group's offset out of range, and was quicker than we were to put another in its place. */
  wasReset(stored: StoredProgress): boolean;
  tellReset(partition: HeldPartition): void;
  /** The topic was made anew, or its end was lost with its leader. */
  tellCut(partition: HeldPartition): void;
  /** A gap may be the end of a transaction, or what compaction left away; below the oldest record it is a loss. */
  tellLoss(partition: HeldPartition, expected: number): Promise<void>;
}

export function createGroupOffsets(group: string, admin: () => Promise<Admin>, log: Log): GroupOffsets {
  return {
    async stored(partitions) {
      const topics = [...new Set(partitions.map(({ topic }) => topic))];
      const found = await (await admin()).fetchOffsets({ groupId: group, topics });
      const byName = new Map<string, StoredProgress>();
      for (const { topic, partitions: of } of found) {
        for (const { partition: number, offset, metadata } of of) {
          byName.set(nameOf({ topic, number }), { offset: Number(offset), metadata });
        }
      }
      return (partition) => byName.get(nameOf(partition)) ?? { offset: -1, metadata: null };
    },

    wasReset: ({ offset }) => offset === earliest,

    tellReset({ topic, number: partition }) {
      const place = { topic, partition, group };
      log.error("the place that a group had reached is gone; reading the topic from its oldest record", place);
    },

    tellCut({ topic, number: partition, next: reached }) {
      const place = { topic, partition, group, reached };
      log.error("a topic ends before the place that the group had reached; reading it from its oldest record", place);
    },

    async tellLoss({ topic, number: partition }, expected) {
      const place = { topic, partition, group };
      try {
        const offsets = await (await admin()).fetchTopicOffsets(topic);
        const oldest = Number(offsets.find((of) => of.partition === partition)?.low ?? 0);
        if (oldest <= expected) return;
        const lost = { from: expected, to: oldest - 1, records: oldest - expected };
        log.error("records were deleted before the group had read them", { ...place, ...lost });
      } catch (error) {
        log.error("it is not known whether records were deleted before the group had read them", { ...place, error });
      }
    },
  };
}
