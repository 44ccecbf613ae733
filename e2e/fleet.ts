import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { migrate } from "@flick/db/migrate.ts";
import { createApiClient, type ApiClient } from "@flick/dev/api-client.ts";
import { freePorts, host } from "@flick/dev/ports.ts";
import { startProgram, type Program, type ProgramSpec } from "@flick/dev/program.ts";
import {
  cdcSpec,
  gatewaySpec,
  originSpec,
  ossStoreSpec,
  upstashFrontSpec,
  workerSpec,
  type ProgramSettings,
} from "@flick/dev/programs.ts";
import { startKafka, startMariadb, startRedis, type TestServer } from "@flick/dev/testing.ts";
import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { topics } from "@flick/platform/event-log/topics.ts";
import { instancesKey } from "@flick/proto/instances.ts";
import { RedisClient } from "bun";

import { eventLogOf } from "./event-log.ts";
import { atFullSpeed, configure } from "./running-stack.ts";
import { startServiceAddress } from "./service-address.ts";

export interface Fleet {
  urls: { mysql: string; redis: string };
  /** A folder for the test's files, gone after `stop`. */
  dir: string;
  origins: FleetProgram[];
  workers: FleetProgram[];
  gateways: FleetProgram[];
  cdc: FleetProgram;
  /** By worker: the tags of the videos of which it has logged this, such as `job taken` or `job ready`. */
  jobs(message: string): string[][];
  /** What all of them tell each other through. */
  eventLog: EventLog;
  /** Null when the event log is Redis Streams. */
  kafka: TestServer | null;
  /** Makes a call through one of the gateways, each in its turn. */
  call<T>(work: (api: ApiClient) => Promise<T>): Promise<T>;
  /**
   * Restarts every program as an operator would, one of each kind at a time: an origin's successor serves before it stops, and a gateway
   * gets no more calls when it stops.
   */
  restartAll(): Promise<void>;
  stop(): Promise<void>;
}

export interface FleetProgram {
  name: string;
  /** Null while it does not run. */
  pid(): number | null;
  /** Messages of its log, with those of its predecessors. */
  log: Record<string, unknown>[];
  /** How each of its predecessors ended. */
  ends: string[];
  kill(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

const secret = "known-to-every-test-of-the-fleet";
const gatewayCallsEndWithinMs = 60_000;

/**
 * Flick on several processes of each kind, over servers of its own: origins that serve different services, and so have to call each other
 * over the network, media workers and gateways.
 *
 * @param options.services what each of the origins serves.
 * @param options.kafka has the event log on a Kafka of the fleet's own, in place of Redis.
 */
export async function startFleet(options: {
  services: readonly string[];
  workers: number;
  gateways: number;
  kafka: boolean;
}): Promise<Fleet> {
  const dir = await mkdtemp(join(tmpdir(), "flick-fleet-"));
  const [mariadb, redis, kafka, [ossPort = 0, upstashPort = 0]] = await Promise.all([
    startMariadb({ dir: join(dir, "mysql") }),
    startRedis({ dir: join(dir, "redis") }),
    options.kafka ? startKafka({ dir: join(dir, "kafka") }) : null,
    freePorts(2),
  ]);
  const oss = { region: "local", bucket: "flick", accessKeyId: "fleet", accessKeySecret: secret };
  const upstash = { url: `http://${host}:${upstashPort}`, token: secret };
  const address = startServiceAddress(redis.url);
  const announced = new RedisClient(redis.url);
  const kafkaVariables: Record<string, string> = kafka ? { KAFKA_BROKERS: kafka.url } : {};
  const eventLog = eventLogOf({ redis: redis.url, kafkaBrokers: kafka?.url });
  let nodes = 0;

  const settings = async (name: string): Promise<ProgramSettings> => {
    const [port = 0] = await freePorts(1);
    return {
      mysqlUrl: mariadb.url,
      redisUrl: redis.url,
      kafka: kafkaVariables,
      ossUrl: `http://localhost:${ossPort}`,
      ossPublicUrl: `http://${host}:${ossPort}`,
      oss,
      upstash,
      jwtKeyFile: join(dir, "jwt.json"),
      serviceTokenSecret: secret,
      workDir: join(dir, name),
      maxUploadBytes: 16 * 1024 * 1024,
      logLevel: "info",
      ports: { gateway: port, origin: port, worker: port },
    };
  };
  const servers = [
    { ...ossStoreSpec({ port: ossPort, dir: join(dir, "oss"), oss }) },
    upstashFrontSpec({ port: upstashPort, token: upstash.token, redisUrl: redis.url }),
  ].map((spec) => startProgram(spec, () => {}));
  await Promise.all([
    migrate(mariadb.url),
    eventLog.createTopics(topics),
    configure(redis.url, atFullSpeed),
    ...servers.map((program) => program.ready),
  ]);

  const serviceUrls = Object.fromEntries(
    ["USER", "VIDEO", "FAVORITE", "COMMENT", "RELATION", "MESSAGE"].map((name) => [`${name}_SERVICE_URL`, address.url]),
  );
  const program = (name: string, describe: () => Promise<ProgramSpec>) => fleetProgram(name, describe);
  const origins = options.services.map((services, index) =>
    program(`origin ${index}`, async () => {
      const spec = originSpec(await settings("origin"));
      const url = spec.env?.["ADVERTISE_URL"] ?? "";
      const node = { SERVICES: services, NODE_ID: String(nodes++ % 32), LINGER_MS: "3000" };
      return {
        ...spec,
        env: { ...spec.env, ...serviceUrls, ...node },
        probe: async () => (await spec.probe?.()) === true && (await announced.hexists(instancesKey, url)),
        stopWithinMs: 20_000,
      };
    }),
  );
  const workers = Array.from({ length: options.workers }, (_, index) =>
    program(`worker ${index}`, async () => {
      const spec = workerSpec(await settings(`work-${index}`));
      return { ...spec, env: { ...spec.env, ORIGIN_URL: address.url, CONCURRENCY: "1" } };
    }),
  );
  const cdc = program("cdc", async () => {
    const spec = cdcSpec(await settings("cdc"));
    return { ...spec, stopWithinMs: 5_000 };
  });
  const clients = new Map<FleetProgram, { api: ApiClient; calls: number }>();
  const gateways = Array.from({ length: options.gateways }, (_, index) =>
    program(`gateway ${index}`, async () => {
      const own = await settings("gateway");
      const spec = gatewaySpec(own);
      clients.set(gateways[index] as FleetProgram, {
        api: createApiClient(`http://${host}:${own.ports.gateway}`, { reuseConnections: false }),
        calls: 0,
      });
      return { ...spec, env: { ...spec.env, ORIGIN_URL: address.url } };
    }),
  );
  const inRotation = new Set(gateways);
  let turn = 0;
  await Promise.all(origins.map((origin) => origin.start()));
  await Promise.all([...workers, ...gateways, cdc].map((each) => each.start()));

  return {
    urls: { mysql: mariadb.url, redis: redis.url },
    dir,
    eventLog,
    kafka,
    origins,
    workers,
    gateways,
    cdc,
    jobs: (message) =>
      workers.map(({ log }) => log.filter((line) => line["message"] === message).map(({ video }) => String(video))),
    async call(work) {
      const open = gateways.filter((gateway) => inRotation.has(gateway));
      const client = clients.get(open[turn++ % open.length] as FleetProgram);
      if (!client) throw new Error("no gateway is there");
      client.calls++;
      try {
        return await work(client.api);
      } finally {
        client.calls--;
      }
    },
    async restartAll() {
      await Promise.all([
        eachInTurn(origins, (origin) => origin.start()),
        eachInTurn([...workers, cdc], async (each) => {
          await each.stop();
          await each.start();
        }),
        eachInTurn(gateways, async (gateway) => {
          inRotation.delete(gateway);
          const deadline = Date.now() + gatewayCallsEndWithinMs;
          while ((clients.get(gateway)?.calls ?? 0) > 0 && Date.now() < deadline) await Bun.sleep(10);
          await gateway.stop();
          await gateway.start();
          inRotation.add(gateway);
        }),
      ]);
    },
    async stop() {
      for (const some of [gateways, workers, origins, [cdc]]) await Promise.all(some.map((each) => each.kill()));
      announced.close();
      await eventLog.close();
      await address.stop();
      await Promise.all([...servers.map((server) => server.stop()), mariadb.stop(), redis.stop(), kafka?.stop()]);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function eachInTurn<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (const one of all) await work(one);
}

/** `start` while it runs starts a successor, and stops the predecessor when that is ready. */
function fleetProgram(name: string, describe: () => Promise<ProgramSpec>): FleetProgram {
  const log: FleetProgram["log"] = [];
  const ends: string[] = [];
  let current: Program | undefined;
  const end = async (how: (program: Program) => Promise<void> | void) => {
    const program = current;
    if (!program) return;
    current = undefined;
    await how(program);
    ends.push((await program.exited).how);
  };
  return {
    name,
    pid: () => current?.pid ?? null,
    log,
    ends,
    kill: () => end((program) => program.kill()),
    stop: () => end((program) => program.stop()),
    async start() {
      const next = startProgram(await describe(), (line) => log.push(readLine(line)));
      await next.ready.catch((error: unknown) => {
        throw new Error(`${name} does not start; it said ${JSON.stringify(log.slice(-5))}`, { cause: error });
      });
      await end((program) => program.stop());
      current = next;
    },
  };
}

function readLine(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { message: line };
  }
}
