import { test } from "bun:test";

import { openEventLog, type DriverSpec } from "./contract-member.ts";
import type { EventLog } from "./event-log.ts";
import { deadLetterTopic } from "./topics.ts";

/** How the parts of the suite make their tests, for a broker that is there while a test runs. */
export function createContractTest(broker: () => ContractBroker): ContractTest {
  return (sentence, body, { timeoutMs = 30_000, partitions = 4 } = {}) =>
    test(
      sentence,
      async () => {
        const log = await openEventLog(broker().driver);
        const topic = `contract.${crypto.randomUUID()}`;
        try {
          await log.createTopics([
            { name: topic, partitions },
            { name: deadLetterTopic(topic), partitions: 1 },
          ]);
          await body(log, topic, broker());
        } finally {
          await log.close();
        }
      },
      timeoutMs,
    );
}

/** A test with a log and a topic of its own, which has several partitions where there are such. */
export type ContractTest = (
  sentence: string,
  body: (log: EventLog, topic: string, broker: ContractBroker) => Promise<void>,
  options?: { timeoutMs?: number; partitions?: number },
) => void;

/** A broker of the suite's own, and how to open its log. */
export interface ContractBroker {
  driver: DriverSpec;
  /** Longest time, in milliseconds, until the records of a killed member are delivered to another. */
  takeOverMs: number;
  /** Options of the driver's with which that time is longer than a test waits. */
  patience: Record<string, unknown>;
  /** Stops the broker, or kills it; `start` brings it back with its data under the same address. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it for good and removes its files. */
  remove(): Promise<void>;
}
