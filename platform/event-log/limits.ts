import type { EventRecord } from "./event-log.ts";

/** What every driver refuses, so that a producer learns of it at once and not when the driver below it changes. */
export const limits = {
  keyLength: 255,
  valueBytes: 1024 * 1024,
  /** Of one publish call. */
  records: 10_000,
  /** UTF-8 bytes of keys and values of one publish call. */
  batchBytes: 32 * 1024 * 1024,
} as const;

/** @throws {RangeError} naming the limit, the value found and the topic, never the key or the value. */
export function checkRecords(records: readonly EventRecord[]): void {
  if (records.length > limits.records) {
    throw new RangeError(`one publish takes at most ${limits.records} records, not ${records.length}`);
  }
  let bytes = 0;
  for (const { topic, key, value } of records) {
    checkTopic(topic);
    if (key.length > limits.keyLength) {
      throw new RangeError(
        `a record of ${topic} has a key of ${key.length} characters; the limit is ${limits.keyLength}`,
      );
    }
    const valueBytes = Buffer.byteLength(value);
    if (valueBytes > limits.valueBytes) {
      throw new RangeError(
        `a record of ${topic} has a value of ${valueBytes} bytes; the limit is ${limits.valueBytes}`,
      );
    }
    bytes += valueBytes + Buffer.byteLength(key);
  }
  if (bytes > limits.batchBytes) {
    throw new RangeError(`one publish takes at most ${limits.batchBytes} bytes, not ${bytes}`);
  }
}

/** The names that Kafka allows, less what a dead letter topic's suffix needs. @throws {RangeError} */
export function checkTopic(topic: string): void {
  if (!/^[A-Za-z0-9._-]{1,240}$/.test(topic)) {
    throw new RangeError(
      `topic ${JSON.stringify(topic.slice(0, 60))} must have 1 to 240 of the characters A-Z a-z 0-9 . _ -`,
    );
  }
}
