import { readEnv } from "@flick/platform/env.ts";
import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { kafkaEnv, openEventLog } from "@flick/platform/event-log/open.ts";
import { createLog } from "@flick/platform/log.ts";

/** The event log that a stack's programs use: Kafka if it has brokers. */
export function eventLogOf({ redis, kafkaBrokers }: { redis: string; kafkaBrokers?: string | undefined }): EventLog {
  const brokers = kafkaBrokers ? { KAFKA_BROKERS: kafkaBrokers } : {};
  return openEventLog(
    { REDIS_URL: redis, ...readEnv(kafkaEnv, brokers) },
    createLog({ program: "tests", write: () => {} }),
  );
}
