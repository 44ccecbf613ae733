import * as v from "valibot";

import { EnvError, whole } from "../env.ts";
import type { Log } from "../log.ts";
import type { EventLog } from "./event-log.ts";
import { createKafkaEventLog } from "./kafka.ts";
import type { KafkaConnection } from "./kafka-client.ts";
import { TopicMissing } from "./kafka-topics.ts";
import { createRedisStreamsEventLog } from "./redis-streams.ts";
import { topics } from "./topics.ts";

const brokers = v.pipe(
  v.string(),
  v.transform((text) => text.split(",").map((broker) => broker.trim())),
  v.check(
    (list) => list.every((broker) => /^([\w.-]+|\[[\da-fA-F:]+\]):\d{1,5}$/.test(broker)),
    "must be a comma-separated list of host:port",
  ),
);

/** What decides where the event log lies; part of the environment of every program that uses it, besides `REDIS_URL`. */
export const kafkaEnv = {
  /** `host:port` of some brokers, with commas. Without it the event log is in Redis Streams. */
  KAFKA_BROKERS: v.optional(brokers),
  KAFKA_TLS: v.optional(v.picklist(["true", "false"], "must be true or false"), "false"),
  /** PEM of the authorities to trust in place of the system's; as a rule by `KAFKA_CA_FILE`. */
  KAFKA_CA: v.optional(v.pipe(v.string(), v.includes("-----BEGIN CERTIFICATE-----", "must hold a certificate in PEM"))),
  KAFKA_SASL_MECHANISM: v.optional(
    v.picklist(["plain", "scram-sha-256", "scram-sha-512"], "must be plain, scram-sha-256 or scram-sha-512"),
  ),
  KAFKA_SASL_USERNAME: v.optional(v.string()),
  KAFKA_SASL_PASSWORD: v.optional(v.string()),
  /** Of topics that are created, if they are not made for one. */
  KAFKA_PARTITIONS: v.optional(whole(1, 1_000), "12"),
  /** Copies of each record, on as many brokers: 3 where losing a broker must lose nothing. */
  KAFKA_REPLICATION: v.optional(whole(1, 10), "1"),
};

type EventLogEnv = v.InferOutput<v.ObjectSchema<typeof kafkaEnv, undefined>> & { REDIS_URL?: string | undefined };

/**
 * The event log that the environment names: on Kafka with `KAFKA_BROKERS`, else in Redis Streams at `REDIS_URL`.
 *
 * @param processName that no other living process has: what a dead one of this name had in hand is taken over at once.
 * @throws {EnvError} when something of it is missing.
 */
export function openEventLog(env: EventLogEnv, log: Log, processName?: string): EventLog {
  if (env.KAFKA_BROKERS) {
    return createKafkaEventLog({
      connection: connectionOf(env, env.KAFKA_BROKERS),
      log,
      processName,
      partitions: env.KAFKA_PARTITIONS,
      replication: env.KAFKA_REPLICATION,
    });
  }
  if (!env.REDIS_URL) throw new EnvError(["REDIS_URL: is missing (and so is KAFKA_BROKERS)"]);
  return createRedisStreamsEventLog({ url: env.REDIS_URL, log, processName });
}

/**
 * To be asked when a program starts.
 *
 * @throws {TopicMissing} with the command that creates topics. An event log that cannot be reached is no reason not to start.
 */
export async function checkOurTopics(eventLog: EventLog, log: Log): Promise<void> {
  try {
    await eventLog.checkTopics(topics.map(({ name }) => name));
  } catch (error) {
    if (error instanceof TopicMissing) throw error;
    log.warn("the event log cannot be reached; it is not known whether its topics are there", { error });
  }
}

function connectionOf(env: EventLogEnv, list: readonly string[]): KafkaConnection {
  const { KAFKA_CA: ca, KAFKA_SASL_MECHANISM: mechanism } = env;
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = env;
  if (ca !== undefined && env.KAFKA_TLS === "false") throw new EnvError(["KAFKA_TLS: must be true for KAFKA_CA"]);
  const connection: KafkaConnection = { brokers: list };
  if (env.KAFKA_TLS === "true") connection.tls = ca === undefined ? {} : { ca };
  if (mechanism) {
    if (!username) throw new EnvError(["KAFKA_SASL_USERNAME: is missing (KAFKA_SASL_MECHANISM is set)"]);
    if (!password) throw new EnvError(["KAFKA_SASL_PASSWORD: is missing (KAFKA_SASL_MECHANISM is set)"]);
    connection.sasl = { mechanism, username, password };
  } else if (username || password) {
    throw new EnvError(["KAFKA_SASL_MECHANISM: is missing (KAFKA_SASL_USERNAME or KAFKA_SASL_PASSWORD is set)"]);
  }
  return connection;
}
