import { describe, test } from "bun:test";

import { findKafka } from "./kafka.ts";
import { explain } from "./refusal.ts";

/**
 * Tests that need a real Kafka (`startKafka`, `testKafka` of testing.ts). Where Java or its jars cannot be had they are skipped, and
 * their name says why; with CI=true that is a failure. To be awaited at the top of a test file.
 */
export async function describeWithKafka(name: string, tests: () => void): Promise<void> {
  const problem = await findKafka().then(
    () => null,
    (error: unknown) => explain(error),
  );
  if (problem === null) {
    describe(name, tests);
  } else if (process.env.CI === "true") {
    test(`${name}: there is a Kafka to test with`, () => {
      throw new Error(problem);
    });
  } else {
    describe.skip(`${name} (skipped without Kafka: ${problem})`, tests);
  }
}
