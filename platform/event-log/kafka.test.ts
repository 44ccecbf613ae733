import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describeWithKafka } from "@flick/dev/testing-kafka.ts";
import { startKafka } from "@flick/dev/testing.ts";

import { eventLogContract } from "./contract.ts";

await describeWithKafka("Kafka", () => {
  eventLogContract("Kafka", async () => {
    const dir = await mkdtemp(join(tmpdir(), "flick-event-log-"));
    const server = await startKafka({ dir });
    const sessionTimeoutMs = 2_000;
    return {
      driver: {
        module: join(import.meta.dir, "kafka.ts"),
        factory: "createKafkaEventLog",
        options: { connection: { brokers: [server.url] }, sessionTimeoutMs },
      },
      takeOverMs: sessionTimeoutMs,
      stop: () => server.stop(),
      start: () => server.start(),
      async remove() {
        await server.stop();
        await rm(dir, { recursive: true, force: true });
      },
    };
  });
});
