import { migrate } from "@flick/db/migrate.ts";
import { runEvents } from "@flick/platform/event-log/cli.ts";

import { openDataDir, type DataDir } from "./data-dir.ts";
import { portVariables, type ExternalServers, type KafkaPorts, type StackPorts } from "./env.ts";
import { kafkaBrokers, kafkaSpec, prepareKafka, provideKafka } from "./kafka.ts";
import { mariadbSpec, mariadbUrl, prepareMariadb } from "./mariadb.ts";
import { secondsSince, type Output } from "./output.ts";
import { host, requireFreePorts } from "./ports.ts";
import type { ProgramSpec } from "./program.ts";
import {
  cdcSpec,
  gatewaySpec,
  originSpec,
  ossStoreSpec,
  upstashFrontSpec,
  workerSpec,
  type ProgramSettings,
} from "./programs.ts";
import { prepareRedis, redisSpec, redisUrl } from "./redis.ts";
import { Refusal } from "./refusal.ts";
import { loadSecrets } from "./secrets.ts";
import { createSupervisor } from "./supervisor.ts";

export interface StackOptions {
  dataDir: string;
  ports: StackPorts;
  /** Servers that are there already, in place of private ones. */
  external?: ExternalServers;
  /** The event log is on a Kafka of our own that listens here, unless there is an external one; without both it is in Redis. */
  kafka?: KafkaPorts;
  maxUploadBytes: number;
  logLevel: string;
  output: Output;
  /** Called when a program has died too often: the stack no longer works. */
  onGiveUp: (reason: Refusal) => void;
  /** Called when Redis is there and none of our programs runs yet; a live configuration that is stored now applies from the start. */
  prepareRedis?: (redisUrl: string) => Promise<void>;
}

/** Everything that Flick consists of, on this machine. */
export interface Stack {
  /** Rejects when a program cannot be started, or when `stop` or `kill` were called before all of them served. */
  ready: Promise<void>;
  urls: StackUrls;
  /** Where the passwords and keys of the private servers are. */
  secretsFile: string;
  /** Name and process id of every program that runs now. */
  running(): { name: string; pid: number }[];
  /** Stops every program, those first that use others, and closes the data folder; takes 10 s at most. */
  stop(): Promise<void>;
  /** Kills every program at once. */
  kill(): void;
}

/** Those of the servers hold their passwords. */
export interface StackUrls {
  gateway: string;
  origin: string;
  oss: string;
  upstash: string;
  mysql: string;
  redis: string;
  /** Only when the event log is there. */
  kafkaBrokers?: string;
}

/**
 * Starts a stack on a data folder and resolves when all of it serves. When that fails, what has been started is stopped again.
 *
 * @throws {Refusal} when the data folder is in use, a port is taken, or a program does not start.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const stack = await beginStack(options);
  try {
    await stack.ready;
    return stack;
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

/**
 * Like {@link startStack} for a caller who may want to stop it before it is ready.
 *
 * @throws {Refusal} when the data folder is in use or a port is taken; nothing has been started then.
 */
export async function beginStack(options: StackOptions): Promise<Stack> {
  const { ports, output, external = {} } = options;
  const dataDir = await openDataDir(options.dataDir);
  try {
    for (const { name, pid } of dataDir.ended)
      output.say(`ended ${name} (process ${pid}), left over from a run that was killed`);
    await requireFreePorts(wantedPorts(ports, external, external.kafka ? undefined : options.kafka));
    return await begin(options, dataDir);
  } catch (error) {
    dataDir.close();
    throw error;
  }
}

async function begin(options: StackOptions, dataDir: DataDir): Promise<Stack> {
  const { ports, output, external = {} } = options;
  const secretsFile = dataDir.file("secrets.json");
  const secrets = await loadSecrets(secretsFile);
  const mariadb = { dir: dataDir.file("mysql"), port: ports.mysql, password: secrets.mysqlPassword };
  const redis = { dir: dataDir.file("redis"), port: ports.redis, password: secrets.redisPassword };
  const kafka = options.kafka && !external.kafka ? { ...options.kafka, dir: dataDir.file("kafka") } : null;
  const kafkaVariables: Record<string, string> =
    external.kafka ?? (kafka ? { KAFKA_BROKERS: kafkaBrokers(kafka) } : {});
  const oss = external.oss ?? {
    // ali-oss cannot sign URLs of a server that is named by its address.
    url: `http://localhost:${ports.oss}`,
    publicUrl: `http://${host}:${ports.oss}`,
    region: "local",
    bucket: "flick",
    accessKeyId: secrets.ossAccessKeyId,
    accessKeySecret: secrets.ossAccessKeySecret,
  };
  const upstash = external.upstash ?? { url: `http://${host}:${ports.upstash}`, token: secrets.upstashToken };
  const settings: ProgramSettings = {
    mysqlUrl: external.mysqlUrl ?? mariadbUrl(mariadb),
    redisUrl: external.redisUrl ?? redisUrl(redis),
    kafka: kafkaVariables,
    ossUrl: oss.url,
    ossPublicUrl: oss.publicUrl,
    oss,
    upstash,
    jwtKeyFile: dataDir.file("secrets", "jwt.json"),
    serviceTokenSecret: secrets.serviceTokenSecret,
    workDir: dataDir.file("work"),
    maxUploadBytes: options.maxUploadBytes,
    logLevel: options.logLevel,
    ports,
  };
  const supervisor = createSupervisor({
    output,
    onGiveUp: options.onGiveUp,
    onChange: () => dataDir.record(supervisor.running()),
  });

  const preparations: Promise<void>[] = [];

  async function start(spec: ProgramSpec, preparation = Promise.resolve()): Promise<void> {
    const since = performance.now();
    preparations.push(preparation);
    await preparation;
    await supervisor.start(spec);
    output.say(`${spec.name} is up (${secondsSince(since)})`);
  }

  async function startDatabase(): Promise<void> {
    if (!external.mysqlUrl) await start(mariadbSpec(mariadb), prepareMariadb(mariadb));
    const since = performance.now();
    await migrate(settings.mysqlUrl).catch((error: unknown) => {
      throw new Refusal(`The database cannot be migrated: ${error instanceof Error ? error.message : String(error)}`);
    });
    output.say(`the schema is up to date (${secondsSince(since)})`);
  }

  async function startRedis(): Promise<void> {
    if (!external.redisUrl) await start(redisSpec(redis), prepareRedis(redis));
    if (!external.upstash) {
      await start(upstashFrontSpec({ port: ports.upstash, token: upstash.token, redisUrl: settings.redisUrl }));
    }
    await options.prepareRedis?.(settings.redisUrl);
  }

  async function startKafka(): Promise<void> {
    if (!kafkaVariables["KAFKA_BROKERS"]) return;
    if (kafka) {
      const runtime = await provideKafka(output);
      await start(kafkaSpec(kafka, runtime), prepareKafka(kafka, runtime));
    }
    const since = performance.now();
    await runEvents(["topics"], kafkaVariables).catch((error: unknown) => {
      throw new Refusal(`Kafka's topics cannot be created: ${error instanceof Error ? error.message : String(error)}`);
    });
    output.say(`the topics are there (${secondsSince(since)})`);
  }

  async function startOssStore(): Promise<void> {
    if (!external.oss) await start(ossStoreSpec({ port: ports.oss, dir: dataDir.file("oss"), oss }));
  }

  async function startAll(): Promise<void> {
    const redisServer = startRedis();
    const servers = Promise.all([startDatabase(), redisServer, startKafka(), startOssStore()]);
    const users = servers.then(() =>
      Promise.all([originSpec, cdcSpec, workerSpec].map((spec) => start(spec(settings)))),
    );
    // It reads its live configuration there.
    const gateway = redisServer.then(() => start(gatewaySpec(settings)));
    await Promise.all([gateway, users]);
  }

  return {
    ready: startAll(),
    urls: {
      gateway: `http://${host}:${ports.gateway}`,
      origin: `http://${host}:${ports.origin}`,
      oss: oss.publicUrl,
      upstash: upstash.url,
      mysql: settings.mysqlUrl,
      redis: settings.redisUrl,
      ...(kafkaVariables["KAFKA_BROKERS"] ? { kafkaBrokers: kafkaVariables["KAFKA_BROKERS"] } : {}),
    },
    secretsFile,
    running: () => supervisor.running(),
    async stop() {
      await supervisor.stop(stopOrder);
      await Promise.allSettled(preparations);
      dataDir.close();
    },
    kill: () => supervisor.kill(),
  };
}

/** Nobody loses what it still needs to end its work. */
const stopOrder = [["gateway"], ["worker"], ["origin"], ["cdc"], ["upstash", "oss"], ["mariadb", "redis", "kafka"]];

function wantedPorts(ports: StackPorts, external: ExternalServers, kafka: KafkaPorts | undefined) {
  const wanted = [
    { owner: "the gateway", port: ports.gateway, variable: portVariables.gateway, needed: true },
    { owner: "the origin", port: ports.origin, variable: portVariables.origin, needed: true },
    { owner: "the media worker", port: ports.worker, variable: portVariables.worker, needed: true },
    { owner: "the OSS store", port: ports.oss, variable: portVariables.oss, needed: !external.oss },
    { owner: "the Upstash front", port: ports.upstash, variable: portVariables.upstash, needed: !external.upstash },
    { owner: "MariaDB", port: ports.mysql, variable: portVariables.mysql, needed: !external.mysqlUrl },
    { owner: "Redis", port: ports.redis, variable: portVariables.redis, needed: !external.redisUrl },
  ];
  const ofKafka = kafka
    ? [
        { owner: "Kafka", port: kafka.port, variable: "FLICK_KAFKA_PORT" },
        { owner: "Kafka's controller", port: kafka.controllerPort, variable: "FLICK_KAFKA_CONTROLLER_PORT" },
      ]
    : [];
  return [...wanted.filter(({ needed }) => needed), ...ofKafka];
}
