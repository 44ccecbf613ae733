import { CompressionTypes, type Message, type Producer, type ProducerConfig, type TopicMessages } from "kafkajs";

import { within } from "../within.ts";

export interface KafkaRecord {
  topic: string;
  key: string;
  value: string;
  headers?: Record<string, string>;
}

export interface KafkaProducer {
  /**
   * Resolves once all of the records are durable. Those of the last one's topic are sent when those of the other topics are.
   * Rejects when any may be missing; some of them may be there all the same, and stay in order if they are sent again.
   */
  send(records: readonly KafkaRecord[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * Of one request. What a request has for one partition becomes one batch, and brokers refuse batches of more than `max.message.bytes`;
 * our topics are made for batches of this size with a little on top.
 */
const requestBytes = 1024 * 1024;
/** kafkajs takes a time that grows with the square of this to sort them by partition. */
const requestRecords = 1_000;
/** Publish calls that wait for their turn. */
const mostWaiting = 1_000;

interface Waiting {
  records: readonly KafkaRecord[];
  done: PromiseWithResolvers<void>;
}

/**
 * Sends records with `acks=all`, in gzip, by the partitioner that Java's clients have (murmur2 of the key), so that all of them agree
 * where a key lies. One request is under way at a time, and calls that come meanwhile share the next one: this keeps
 * the records of a key in order when a request has to be repeated. The producer is idempotent, so that a repeated request adds
 * nothing twice; after one that failed for good it is replaced, because kafkajs would give that request's sequence numbers
 * to the next, whose records the broker could then take for repeated ones.
 */
export function createKafkaProducer(options: { client: Client; timeoutMs: number }): KafkaProducer {
  const { client, timeoutMs } = options;
  const waiting: Waiting[] = [];
  let producer: Promise<ClientProducer> | null = null;
  let sending: Promise<void> | null = null;
  let closed = false;
  const tooSlow = () => new Error(`Kafka has not acknowledged the records within ${timeoutMs} ms`);

  return {
    async send(records) {
      if (closed) throw new Error("the event log is closed");
      if (waiting.length >= mostWaiting) throw new Error(`${mostWaiting} publish calls are waiting for Kafka already`);
      const done = Promise.withResolvers<void>();
      waiting.push({ records, done });
      sending ??= sendWaiting().finally(() => (sending = null));
      await done.promise;
    },
    async close() {
      closed = true;
      await sending;
      await producer?.then((connected) => connected.disconnect()).catch(() => {});
    },
  };

  async function sendWaiting(): Promise<void> {
    for (let turn = nextTurn(); turn.length > 0; turn = nextTurn()) {
      const givenUp = new AbortController();
      try {
        const records = turn.flatMap((call) => call.records);
        await within(sendSteps(records, givenUp.signal), timeoutMs, tooSlow);
        for (const { done } of turn) done.resolve();
      } catch (error) {
        // What is left of it would come among the records of the calls after it.
        givenUp.abort(error);
        for (const { done } of turn) done.reject(error);
        const failed = producer;
        producer = null;
        void failed?.then((connected) => connected.disconnect()).catch(() => {});
      }
    }
  }

  /** Calls with one topic go together; one with several has its steps for itself. */
  function nextTurn(): Waiting[] {
    const turn = waiting.splice(0, 1);
    let bytes = turn[0] ? bytesOf(turn[0].records) : 0;
    let count = turn[0]?.records.length ?? 0;
    for (let [next] = waiting; next && isSimple(turn[0]) && isSimple(next); [next] = waiting) {
      bytes += bytesOf(next.records);
      count += next.records.length;
      if (bytes > requestBytes || count > requestRecords) break;
      turn.push(next);
      waiting.shift();
    }
    return turn;
  }

  async function sendSteps(records: readonly KafkaRecord[], givenUp: AbortSignal): Promise<void> {
    const last = records.at(-1)?.topic;
    const first = records.filter(({ topic }) => topic !== last);
    const rest = first.length === 0 ? records : records.filter(({ topic }) => topic === last);
    for (const step of [first, rest]) for (const request of requestsOf(step)) await sendRequest(request, givenUp);
  }

  async function sendRequest(topicMessages: TopicMessages[], givenUp: AbortSignal): Promise<void> {
    givenUp.throwIfAborted();
    const connected = await (producer ??= connect());
    givenUp.throwIfAborted();
    await connected.sendBatch({ topicMessages, acks: -1, compression: CompressionTypes.GZIP, timeout: timeoutMs });
  }

  async function connect(): Promise<ClientProducer> {
    const created = client.producer({
      idempotent: true,
      allowAutoTopicCreation: false,
      retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 30 },
    });
    await created.connect();
    return created;
  }
}

function isSimple(call: Waiting | undefined): boolean {
  const topic = call?.records[0]?.topic;
  return call?.records.every((record) => record.topic === topic) ?? false;
}

function* requestsOf(records: readonly KafkaRecord[]): Generator<TopicMessages[]> {
  let byTopic = new Map<string, Message[]>();
  let bytes = 0;
  let count = 0;
  for (const record of records) {
    const size = bytesOf([record]);
    if (count > 0 && (bytes + size > requestBytes || count >= requestRecords)) {
      yield byTopics(byTopic);
      byTopic = new Map();
      bytes = 0;
      count = 0;
    }
    const { topic, key, value, headers } = record;
    const messages = byTopic.get(topic) ?? [];
    byTopic.set(topic, messages);
    messages.push(headers ? { key, value, headers } : { key, value });
    bytes += size;
    count++;
  }
  if (count > 0) yield byTopics(byTopic);
}

function byTopics(byTopic: ReadonlyMap<string, Message[]>): TopicMessages[] {
  return [...byTopic].map(([topic, messages]) => ({ topic, messages }));
}

function bytesOf(records: readonly KafkaRecord[]): number {
  return records.reduce((sum, { key, value }) => sum + Buffer.byteLength(key) + Buffer.byteLength(value) + 64, 0);
}

/** What is needed of kafkajs' client. */
interface Client {
  producer(config: ProducerConfig): ClientProducer;
}

type ClientProducer = Pick<Producer, "connect" | "disconnect" | "sendBatch">;
