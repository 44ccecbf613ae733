import { access, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { findJava } from "./java.ts";
import { resolveJars } from "./maven.ts";
import type { Output } from "./output.ts";
import { host } from "./ports.ts";
import { kafkaAnswers } from "./probes.ts";
import { startProgram, type ProgramSpec } from "./program.ts";
import { provision } from "./provision.ts";
import { Refusal } from "./refusal.ts";

export interface KafkaOptions {
  dir: string;
  /** Where clients reach it. */
  port: number;
  /** Where the node reaches its own controller. */
  controllerPort: number;
  /** Another way in, by TLS and with a password (SASL), for tests of clients that use them. */
  secure?: { port: number; certificate: string; key: string; username: string; password: string };
}

/** What runs a node: found once, and the same for all of them. */
export interface KafkaRuntime {
  java: string;
  classPath: string;
}

const formatLimitMs = 60_000;
/** Any will do: there is one node in each cluster. */
const clusterId = "Rmxpa0thZmthTG9jYWwxMA";

/** The node's address, as KAFKA_BROKERS wants it. */
export function kafkaBrokers({ port }: KafkaOptions): string {
  return `${host}:${port}`;
}

/**
 * Finds Java and the jars of Apache Kafka; the first time Maven has to fetch them (about 40 MB).
 *
 * @throws {Refusal} says what is missing.
 */
export async function findKafka(): Promise<KafkaRuntime> {
  const { program } = await findJava();
  const jars = await resolveJars(join(import.meta.dir, "kafka", "pom.xml"));
  return { java: program, classPath: jars.join(":") };
}

/** Like {@link findKafka}, but installs Java and Maven where they are missing and that is possible without asking. @throws {Refusal} */
export async function provideKafka(output: Output): Promise<KafkaRuntime> {
  const runtime = await findKafka().catch(() => null);
  if (runtime) return runtime;
  await provision(["java", "maven"], output);
  return findKafka();
}

/** Writes the node's configuration and, the first time, the files that a node begins with. */
export async function prepareKafka(options: KafkaOptions, runtime: KafkaRuntime): Promise<void> {
  await mkdir(options.dir, { recursive: true, mode: 0o700 });
  await writeFile(configFile(options), configOf(options), { mode: 0o600 });
  const begun = await access(join(dataDir(options), "meta.properties")).then(
    () => true,
    () => false,
  );
  if (begun) return;
  await rm(dataDir(options), { recursive: true, force: true });
  const { secure } = options;
  const users = secure
    ? ["256", "512"].flatMap((bits) => [
        "--add-scram",
        `SCRAM-SHA-${bits}=[name=${secure.username},password=${secure.password}]`,
      ])
    : [];
  const command = [...javaCommand(runtime), "kafka.tools.StorageTool", "format", "--cluster-id", clusterId, ...users];
  const format = startProgram(
    { name: "kafka", command: [...command, "--config", configFile(options)], hides: () => true },
    () => {},
  );
  const timer = setTimeout(format.kill, formatLimitMs);
  const { how, hidden } = await format.exited;
  clearTimeout(timer);
  if (how !== "exit code 0") throw new Refusal([`Kafka's files cannot be made (${how}):`, ...hidden].join("\n"));
}

/** How to run one node that is broker and controller; {@link prepareKafka} comes first. */
export function kafkaSpec(options: KafkaOptions, runtime: KafkaRuntime): ProgramSpec {
  return {
    name: "kafka",
    command: [...javaCommand(runtime), "kafka.Kafka", configFile(options)],
    probe: () => kafkaAnswers(host, options.port),
    readyWithinMs: 90_000,
    stopWithinMs: 15_000,
    hides: (line) => !/\b(ERROR|FATAL)\b/.test(line),
  };
}

const configFile = ({ dir }: KafkaOptions) => join(dir, "server.properties");
const dataDir = ({ dir }: KafkaOptions) => join(dir, "data");

function javaCommand({ java, classPath }: KafkaRuntime): string[] {
  return [
    java,
    "-Xms64m",
    "-Xmx320m",
    "-XX:+UseSerialGC",
    // A node that lives for a test is done before the better compiler has paid off.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-cp",
    classPath,
  ];
}

function configOf(options: KafkaOptions): string {
  const settings = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.quorum.voters": `1@${host}:${options.controllerPort}`,
    listeners: `PLAINTEXT://${host}:${options.port},CONTROLLER://${host}:${options.controllerPort}`,
    "advertised.listeners": `PLAINTEXT://${host}:${options.port}`,
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "log.dirs": dataDir(options),
    // A topic that nobody declared is a mistake.
    "auto.create.topics.enable": false,
    // One node can hold one copy only; the defaults ask for three.
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
    // Nobody here starts a hundred members at once, for whom it would be worth waiting.
    "group.initial.rebalance.delay.ms": 0,
    // So that tests may ask for a short one.
    "group.min.session.timeout.ms": 500,
    "group.max.session.timeout.ms": 1_800_000,
    // The cleaner's buffer is 128 MB otherwise, more than the heap has room for.
    "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "group.coordinator.threads": 1,
  };
  Object.assign(settings, secureSettings(options));
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  return lines.join("");
}

/** A second listener; the first and the controller's are named again, since a list replaces a list. */
function secureSettings({ port, controllerPort, secure }: KafkaOptions): Record<string, string> {
  if (!secure) return {};
  const listener = "listener.name.secure";
  const login = "org.apache.kafka.common.security";
  // In a file of properties a line ends a value.
  const inOneLine = (pem: string) => pem.trim().replaceAll("\n", "\\n");
  return {
    listeners: `PLAINTEXT://${host}:${port},SECURE://${host}:${secure.port},CONTROLLER://${host}:${controllerPort}`,
    "advertised.listeners": `PLAINTEXT://${host}:${port},SECURE://${host}:${secure.port}`,
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    [`${listener}.ssl.keystore.type`]: "PEM",
    [`${listener}.ssl.keystore.certificate.chain`]: inOneLine(secure.certificate),
    [`${listener}.ssl.keystore.key`]: inOneLine(secure.key),
    [`${listener}.sasl.enabled.mechanisms`]: "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    [`${listener}.plain.sasl.jaas.config`]: `${login}.plain.PlainLoginModule required user_${secure.username}="${secure.password}";`,
    [`${listener}.scram-sha-256.sasl.jaas.config`]: `${login}.scram.ScramLoginModule required;`,
    [`${listener}.scram-sha-512.sasl.jaas.config`]: `${login}.scram.ScramLoginModule required;`,
  };
}
