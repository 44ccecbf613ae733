import { Kafka, logLevel, type Broker, type Cluster, type KafkaConfig, type LogEntry, type SASLOptions } from "kafkajs";
import RequestQueue from "kafkajs/src/network/requestQueue/index.js";

import type { Log } from "../log.ts";

export interface KafkaConnection {
  /** `host:port` of some of the brokers; the others are learnt from them. */
  brokers: readonly string[];
  /** With the system's certificate authorities, or with `ca` in their place, in PEM. Without it nothing is encrypted. */
  tls?: { ca?: string };
  sasl?: { mechanism: "plain" | "scram-sha-256" | "scram-sha-512"; username: string; password: string };
}

/** For a connection to be made. */
const connectMs = 3_000;
/** For an answer, if the request itself does not wait for longer. */
const answerMs = 10_000;

/**
 * A kafkajs client. What kafkajs logs goes to `debug`, because at an outage it repeats itself many times a second: the driver
 * says itself what a person has to know.
 */
export function createKafkaClient({ brokers, tls, sasl }: KafkaConnection, log: Log, clientId = "flick"): Kafka {
  const config: KafkaConfig = {
    clientId,
    brokers: [...brokers],
    connectionTimeout: connectMs,
    requestTimeout: answerMs,
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5 },
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => relay(entry, log),
  };
  if (tls) config.ssl = tls.ca === undefined ? true : { ca: tls.ca };
  if (sasl) config.sasl = sasl as SASLOptions;
  return new Kafka(config);
}

/** kafkajs' own view of the cluster, which it keeps to itself: the one way to read records without being in a group. */
export function createKafkaCluster(kafka: Kafka): KafkaCluster {
  const symbol = Object.getOwnPropertySymbols(kafka).find(
    ({ description }) => description === "private:Kafka:createCluster",
  );
  const create = symbol && (kafka as unknown as Record<symbol, (options: object) => KafkaCluster>)[symbol];
  if (!create) throw new Error("this kafkajs is not version 2.2.4: it has no way to make a cluster");
  return create({ allowAutoTopicCreation: false, isolationLevel: readCommitted });
}

/**
 * Ends a membership that its consumer could not end itself; without it the group waits for that member until its session has timed
 * out.
 */
export async function leaveKafkaGroup(kafka: Kafka, groupId: string, memberId: string): Promise<void> {
  const cluster = createKafkaCluster(kafka);
  try {
    await cluster.connect();
    const coordinator = (await cluster.findGroupCoordinator({ groupId })) as KafkaCoordinator;
    await coordinator.leaveGroup({ groupId, memberId });
  } finally {
    await cluster.disconnect();
  }
}

interface KafkaCoordinator extends Broker {
  leaveGroup(membership: { groupId: string; memberId: string }): Promise<unknown>;
}

/** The part of a broker that reads. */
export interface KafkaBroker {
  fetch(request: {
    maxWaitTime: number;
    minBytes: number;
    maxBytes: number;
    isolationLevel: number;
    topics: { topic: string; partitions: { partition: number; fetchOffset: string; maxBytes: number }[] }[];
  }): Promise<{ responses: { topicName: string; partitions: { partition: number; messages: FetchedMessage[] }[] }[] }>;
}

export interface FetchedMessage {
  offset: string;
  key: Buffer | null;
  value: Buffer | null;
  headers: Record<string, Buffer | undefined>;
  isControlRecord?: boolean;
}

export type KafkaCluster = Omit<Cluster, "findBroker"> & { findBroker(node: { nodeId: string }): Promise<KafkaBroker> };

export const readCommitted = 1;

function relay({ namespace, label, log: entry }: LogEntry, log: Log): void {
  const { message, timestamp: _, logger: __, ...fields } = entry;
  log.debug(`kafkajs: ${message}`, { ...fields, kafkajs: `${label} ${namespace}` });
}

/**
 * After every answer kafkajs 2.2.4 sets a timer for requests that wait, also when none does, and then computes its delay from a
 * moment that is long past: a negative delay is one of 1 ms (and a TimeoutNegativeWarning), after which the same begins anew. That
 * is a thousand wake-ups a second for each connection at rest. A timer for nothing is not needed.
 */
const schedule = RequestQueue.prototype.scheduleCheckPendingRequests;
RequestQueue.prototype.scheduleCheckPendingRequests = function scheduleIfAnyIsPending(this: RequestQueue) {
  if (this.pending.length > 0) schedule.call(this);
};
