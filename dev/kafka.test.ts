import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { resolveJars } from "./maven.ts";
import { kafkaAnswers } from "./probes.ts";
import { describeWithKafka } from "./testing-kafka.ts";
import { testKafka } from "./testing.ts";

setDefaultTimeout(120_000);

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "flick-kafka-"));
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

await describeWithKafka("a private Kafka", () => {
  test("is one for all in a process, and answers", async () => {
    const [one, two] = await Promise.all([testKafka(), testKafka()]);
    expect(one).toBe(two);
    expect(await answers(one)).toBe(true);
  });

  test("has jars that are there, and Maven is asked for them once", async () => {
    const start = performance.now();
    const jars = await resolveJars(join(import.meta.dir, "kafka", "pom.xml"));
    expect(performance.now() - start).toBeLessThan(1_000);
    expect(jars.some((jar) => /\/kafka_2\.13-4\.\d+\.\d+\.jar$/.test(jar))).toBe(true);
  });
});

test("without Java, Kafka's tests are skipped, and their name says why", async () => {
  const { output, code } = await testsWithoutJava({});
  expect(output).toContain("0 fail");
  expect(output).toContain("1 skip");
  expect(output).toContain(
    "(skip) it (skipped without Kafka: There is no working Java at JAVA_HOME (/nowhere).) > works",
  );
  expect(code).toBe(0);
});

test("without Java in CI, they fail and say why", async () => {
  const { output, code } = await testsWithoutJava({ CI: "true" });
  expect(output).toContain("There is no working Java at JAVA_HOME (/nowhere).");
  expect(output).toContain("1 fail");
  expect(code).not.toBe(0);
});

function answers(brokers: string): Promise<boolean> {
  const [hostname = "", port] = brokers.split(":");
  return kafkaAnswers(hostname, Number(port));
}

async function testsWithoutJava(env: Record<string, string>) {
  const file = join(scratch, "some.test.ts");
  await Bun.write(
    file,
    `import { test } from "bun:test";
    import { describeWithKafka } from ${JSON.stringify(join(import.meta.dir, "testing-kafka.ts"))};
    await describeWithKafka("it", () => test("works", () => {}));`,
  );
  const child = Bun.spawn([process.execPath, "test", file], {
    cwd: scratch,
    env: { PATH: process.env.PATH ?? "", JAVA_HOME: "/nowhere", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, errors] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { output: text + errors, code: child.exitCode };
}
