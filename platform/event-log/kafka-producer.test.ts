import { expect, test } from "bun:test";

import type { ProducerBatch } from "kafkajs";

import { createKafkaProducer } from "./kafka-producer.ts";

/** Kafka as far as a producer sees it: the first connection and the first request are as slow as the test says. */
function slowKafka(slow: { connect?: Promise<void>; request?: Promise<void> }) {
  const received: string[] = [];
  const nextOf = (what: keyof typeof slow) => {
    const wait = slow[what];
    delete slow[what];
    return wait;
  };
  const producer = () => ({
    connect: async () => nextOf("connect"),
    disconnect: async () => {},
    async sendBatch({ topicMessages }: ProducerBatch) {
      await nextOf("request");
      for (const { messages } of topicMessages ?? []) for (const { key } of messages) received.push(String(key));
      return [];
    },
  });
  return { client: { producer }, received };
}

const recordOf = (key: string, topic = "t") => ({ topic, key, value: "x".repeat(600 * 1024) });

test.each(["connect", "request"] as const)(
  "after a %s that took too long, the rest of its call is not sent",
  async (what) => {
    const late = Promise.withResolvers<void>();
    const { client, received } = slowKafka({ [what]: late.promise });
    const producer = createKafkaProducer({ client, timeoutMs: 50 });
    const failed = await producer.send([recordOf("old 1"), recordOf("old 2")]).catch(String);
    expect(failed).toContain("within 50 ms");
    await producer.send([recordOf("new")]);
    late.resolve();
    await Bun.sleep(0);
    await producer.send([recordOf("newest")]);
    await producer.close();
    expect(received.filter((key) => key !== "old 1")).toEqual(["new", "newest"]);
  },
);
