import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePorts } from "@flick/dev/ports.ts";
import { describeWithKafka } from "@flick/dev/testing-kafka.ts";
import { startKafka } from "@flick/dev/testing.ts";

import { readEnv } from "../env.ts";
import { createLog } from "../log.ts";
import { runEvents } from "./cli.ts";
import { kafkaEnv, openEventLog } from "./open.ts";
import { topics } from "./topics.ts";

setDefaultTimeout(60_000);

const log = createLog({ program: "test", level: "error" });
const open = (env: Record<string, string>) => openEventLog(readEnv(kafkaEnv, env), log);

describe("The environment of the event log", () => {
  test.each([
    [{ KAFKA_BROKERS: "kafka" }, "KAFKA_BROKERS: must be a comma-separated list of host:port"],
    [{ KAFKA_BROKERS: "a:9092,b" }, "KAFKA_BROKERS: must be a comma-separated list of host:port"],
    [{ KAFKA_BROKERS: "a:1", KAFKA_TLS: "yes" }, "KAFKA_TLS: must be true or false"],
    [{ KAFKA_BROKERS: "a:1", KAFKA_PARTITIONS: "0" }, "KAFKA_PARTITIONS: must be a whole number from 1 to 1000"],
    [{ KAFKA_BROKERS: "a:1", KAFKA_CA: "text", KAFKA_TLS: "true" }, "KAFKA_CA: must hold a certificate in PEM"],
    [{ KAFKA_BROKERS: "a:1", KAFKA_SASL_MECHANISM: "gssapi" }, "KAFKA_SASL_MECHANISM: must be plain,"],
    [{ KAFKA_BROKERS: "a:1", KAFKA_SASL_MECHANISM: "plain" }, "KAFKA_SASL_USERNAME: is missing"],
    [{ KAFKA_BROKERS: "a:1", KAFKA_SASL_USERNAME: "flick" }, "KAFKA_SASL_MECHANISM: is missing"],
    [{}, "REDIS_URL: is missing"],
  ])("of %p is refused", (env, problem) => {
    expect(() => open(env)).toThrow(problem);
  });
});

await describeWithKafka("An event log that the environment names", () => {
  let dir = "";
  afterAll(() => rm(dir, { recursive: true, force: true }));

  test("is reached by TLS and with each kind of password, and operators' commands work on it", async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-kafka-tls-"));
    const [port = 0] = await freePorts(1);
    const { certificate, key } = await selfSigned();
    const [username, password] = ["flick", "a-password"];
    const server = await startKafka({
      dir: join(dir, "kafka"),
      secure: { port, certificate, key, username, password },
    });
    const env = {
      KAFKA_BROKERS: `127.0.0.1:${port}`,
      KAFKA_TLS: "true",
      KAFKA_CA_FILE: join(dir, "certificate.pem"),
      KAFKA_SASL_USERNAME: username,
      KAFKA_SASL_PASSWORD: password,
      KAFKA_PARTITIONS: "2",
    };
    expect(await runEvents(["topics"], { ...env, KAFKA_SASL_MECHANISM: "plain" })).toEndWith(
      `all ${topics.length} topics are there`,
    );
    for (const KAFKA_SASL_MECHANISM of ["plain", "scram-sha-256", "scram-sha-512"]) {
      const eventLog = open({ ...env, KAFKA_SASL_MECHANISM });
      const seen = Promise.withResolvers<string>();
      const handler = async ({ value }: { value: string }) => {
        if (value === "poison") throw new Error("cannot be read");
        seen.resolve(value);
      };
      await eventLog.publish([{ topic: "cdc.videos", key: "k", value: KAFKA_SASL_MECHANISM }]);
      await eventLog.subscribe({
        group: KAFKA_SASL_MECHANISM,
        topics: ["cdc.videos"],
        retryDelaysMs: [],
        handler,
        onError() {},
      });
      expect(await seen.promise).toStartWith("plain");
      if (KAFKA_SASL_MECHANISM === "plain") {
        await eventLog.publish([{ topic: "cdc.videos", key: "p", value: "poison" }]);
        while ((await eventLog.deadLetters("cdc.videos", 1)).length === 0) await Bun.sleep(20);
      }
      await eventLog.close();
    }
    const plain = { ...env, KAFKA_SASL_MECHANISM: "plain" };
    expect(await runEvents(["lag", "plain"], plain)).toMatch(/group +topic +lag\nplain +cdc\.videos +\d+/);
    expect(await runEvents(["dlq"], plain)).toContain("group plain, 1 attempts");
    expect(await runEvents(["replay", "cdc.videos"], plain)).toMatch(/^\d+ dead letters of cdc\.videos/);
    expect(await runEvents(["dlq", "cdc.videos"], plain)).toBe("there are no dead letters");
    for (const command of ["dlq", "replay"]) {
      expect(await runEvents([command, "cdc.vidoes"], plain).catch(String)).toContain("There is no topic cdc.vidoes");
    }
    const wrong = open({ ...plain, KAFKA_SASL_PASSWORD: "another" });
    await expect(wrong.checkTopics(["cdc.videos"])).rejects.toThrow("uthentication");
    await wrong.close();
    await server.stop();
  });

  async function selfSigned(): Promise<{ certificate: string; key: string }> {
    const [certificate, key] = [join(dir, "certificate.pem"), join(dir, "key.pem")];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
    const command = ["openssl", "req", "-x509", ...curve, "-keyout", key, "-out", certificate, ...name];
    const made = Bun.spawnSync(command, { stdout: "ignore", stderr: "pipe" });
    if (!made.success) throw new Error(`openssl made no certificate: ${made.stderr.toString()}`);
    return { certificate: await Bun.file(certificate).text(), key: await Bun.file(key).text() };
  }
});
