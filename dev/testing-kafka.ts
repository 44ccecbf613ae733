import { describe, test } from "bun:test";

import { findFlinkCdc } from "./flink-cdc.ts";
import { findKafka } from "./kafka.ts";
import { explain } from "./refusal.ts";

/**
 * Tests that need a real Kafka (`startKafka`, `testKafka` of testing.ts). Where Java or its jars cannot be had they are skipped, and
 * their name says why; with CI=true that is a failure. To be awaited at the top of a test file.
 */
export function describeWithKafka(name: string, tests: () => void): Promise<void> {
  return describeWith("Kafka", findKafka, name, tests);
}

/** Tests that need Flink CDC (flink-cdc.ts) and a real Kafka, in the same way. */
export function describeWithFlinkCdc(name: string, tests: () => void): Promise<void> {
  return describeWith("Flink CDC", () => Promise.all([findKafka(), findFlinkCdc()]), name, tests);
}

async function describeWith(need: string, find: () => Promise<unknown>, name: string, tests: () => void) {
  const problem = await find().then(
    () => null,
    (error: unknown) => explain(error),
  );
  if (problem === null) {
    describe(name, tests);
  } else if (process.env.CI === "true") {
    test(`${name}: there is a ${need} to test with`, () => {
      throw new Error(problem);
    });
  } else {
    describe.skip(`${name} (skipped without ${need}: ${problem})`, tests);
  }
}
