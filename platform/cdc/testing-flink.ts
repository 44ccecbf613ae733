import { randomUUID } from "node:crypto";

import { findFlinkCdc, flinkCdcSpec } from "@flick/dev/flink-cdc.ts";
import { freePorts } from "@flick/dev/ports.ts";
import { startProgram, type Program } from "@flick/dev/program.ts";
import { Kafka, logLevel } from "kafkajs";

import type { CdcTest } from "./testing.ts";

/** A record as it lies in Kafka. */
export interface KafkaRecord {
  topic: string;
  partition: number;
  key: string;
  value: string;
}

export interface KafkaReader {
  /** All so far, each partition in its order. */
  records: KafkaRecord[];
  close(): Promise<void>;
}

export interface FlinkRun extends Program {
  /** What it said that a person should see. */
  lines: string[];
}

/** Starts the job on the test's database; it runs when this resolves, and its state is in `dir`. */
export async function startFlink(
  t: CdcTest,
  options: { dir: string; kafkaBrokers: string; flink?: Record<string, string> },
): Promise<FlinkRun> {
  const [port = 0] = await freePorts(1);
  const { dir, kafkaBrokers } = options;
  // Checkpoints come often, so that tests need not wait for one.
  const flink = { "execution.checkpointing.interval": "500ms", ...options.flink };
  const settings = { dir, port, mysqlUrl: t.mysqlUrl, kafkaBrokers, serverId: 5_151, flink };
  const lines: string[] = [];
  const program = startProgram(flinkCdcSpec(settings, await findFlinkCdc()), (line) => lines.push(line));
  return { ...program, lines };
}

export async function readKafka(brokers: string, topics: string[]): Promise<KafkaReader> {
  const consumer = connect(brokers).consumer({ groupId: randomUUID(), maxWaitTimeInMs: 100 });
  const records: KafkaRecord[] = [];
  await consumer.connect();
  await consumer.subscribe({ topics, fromBeginning: true });
  await consumer.run({
    async eachMessage({ topic, partition, message }) {
      records.push({ topic, partition, key: String(message.key), value: String(message.value) });
    },
  });
  return { records, close: () => consumer.disconnect() };
}

function connect(brokers: string): Kafka {
  return new Kafka({ clientId: "test", brokers: brokers.split(","), logLevel: logLevel.NOTHING });
}
