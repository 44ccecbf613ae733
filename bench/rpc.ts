/**
 * What a unary call costs, by our own handler and transports and by Connect's, side by side:
 *
 *     bun bench/rpc.ts [seconds]
 *
 * Each comparison in rounds that take turns (`seconds` each, default 1.5; about 45 s in all): the server, called over 32 raw
 * connections with a request that was made beforehand; the client over fetch, 32 in flight against our server, in Bun and in workerd;
 * and calls within a process. Rates depend on what else the machine does; processor time a call is steadier.
 */
import { fileURLToPath } from "node:url";

import { create, toBinary } from "@bufbuild/protobuf";
import { createClient, createRouterTransport, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { createLog } from "@flick/platform/log.ts";
import { messageFlags, writeFrames } from "@flick/platform/rpc/frames.ts";
import { createLocalTransport } from "@flick/platform/rpc/local-transport.ts";
import { createUnaryTransport } from "@flick/platform/rpc/unary-transport.ts";
import { FavoriteService, SetFavoriteRequestSchema } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import { measure } from "./load.ts";
import { benchInterceptors, benchRoutes } from "./rpc-service.ts";
import { bundleWorker, startWorkerd } from "./workerd.ts";

const seconds = Number(process.argv[2] ?? 1.5);
const inFlight = 32;
const rounds = 2;
const token = "x".repeat(200);

/** One side of a comparison. */
interface Side {
  name: string;
  act: () => Promise<unknown>;
  /** Microseconds of processor time used so far by what is measured. */
  cpu: () => Promise<number>;
}

const connect = await startServer("connect");
const own = await startServer("own");
try {
  await compareServers();
  await compareClients();
  await compareClientsAtTheEdge();
  await compareLocal();
} finally {
  connect.stop();
  own.stop();
}

async function compareServers(): Promise<void> {
  const side = (name: string, server: typeof own) => {
    const connections = createConnections(server.url, setFavoriteRequest(server.url));
    return { name, act: connections.call, cpu: server.cpu, close: connections.close };
  };
  const sides = [side("Connect's", connect), side("ours", own)] as const;
  await compare("server, 32 connections", sides);
  for (const { close } of sides) close();
}

async function compareClients(): Promise<void> {
  const connectTransport = createGrpcWebTransport({ baseUrl: own.url, defaultTimeoutMs: 5_000 });
  const ownTransport = createUnaryTransport({ baseUrl: own.url, timeoutMs: 5_000, maxAnswerBytes: 1024 * 1024 });
  await compare("client, 32 in flight", [likes("Connect's", connectTransport), likes("ours", ownTransport)]);
}

/** The processor time is workerd's own, with what it needs for the request that asks for the call. */
async function compareClientsAtTheEdge(): Promise<void> {
  const code = await bundleWorker(fileURLToPath(new URL("rpc-worker.ts", import.meta.url)));
  const workerd = await startWorkerd([{ name: "client", code, text: { ORIGIN_URL: own.url } }]);
  const url = workerd.urls["client"] ?? "";
  const side = (name: string, path: string) => {
    const connections = createConnections(url, setFavoriteRequest(url, path));
    const cpu = async () => (await workerd.cpuSeconds()) * 1e6;
    return { name, act: connections.call, cpu, close: connections.close };
  };
  const sides = [side("Connect's", "/connect"), side("ours", "/own")] as const;
  await compare("client in workerd, 32 in flight", sides);
  for (const { close } of sides) close();
  await workerd.stop();
}

async function compareLocal(): Promise<void> {
  const interceptors = benchInterceptors(createLog({ program: "bench", level: "error" }));
  const addHeaders = (header: Headers) => Promise.resolve(header.set("x-service-token", token));
  const connectTransport = createRouterTransport(benchRoutes, {
    router: { interceptors },
    transport: {
      defaultTimeoutMs: 5_000,
      interceptors: [
        (next) => async (request) => {
          await addHeaders(request.header);
          return next(request);
        },
      ],
    },
  });
  const ownTransport = createLocalTransport({ routes: benchRoutes, interceptors, addHeaders, timeoutMs: 5_000 });
  await compare("in process, a like", [likes("Connect's", connectTransport), likes("ours", ownTransport)]);
  await compare("in process, 30 users", [users("Connect's", connectTransport), users("ours", ownTransport)]);
}

function likes(name: string, transport: Transport): Side {
  const client = createClient(FavoriteService, transport);
  const options = { headers: { authorization: `Bearer ${token}`, "x-request-id": "bench" } };
  return { name, act: () => client.setFavorite({ videoId: 123_456_789n, favorite: true }, options), cpu: ownCpu };
}

function users(name: string, transport: Transport): Side {
  const client = createClient(UserService, transport);
  const userIds = Array.from({ length: 30 }, (_, index) => BigInt(1_000_000 + index));
  return { name, act: () => client.batchGetUsers({ userIds }), cpu: ownCpu };
}

async function compare(title: string, sides: readonly [Side, Side]): Promise<void> {
  print(title);
  const totals = sides.map(() => ({ rate: 0, cpuUs: 0, p50: 0 }));
  for (let round = 0; round < rounds; round++) {
    for (const [index, { act, cpu }] of sides.entries()) {
      let calls = 0;
      const before = await cpu();
      const { rate, p50 } = await measure({ inFlight, seconds, act: () => (calls++, act()) });
      const cpuUs = ((await cpu()) - before) / calls;
      const total = totals[index];
      if (!total) continue;
      total.rate += rate / rounds;
      total.cpuUs += cpuUs / rounds;
      total.p50 += p50 / rounds;
    }
  }
  for (const [index, { rate, cpuUs, p50 }] of totals.entries()) {
    const [first] = totals;
    const ratio =
      index === 0 || !first
        ? ""
        : `  ${(rate / first.rate).toFixed(1)} times, ${(first.cpuUs / cpuUs).toFixed(1)} times less processor time`;
    const figures = `${String(Math.round(rate)).padStart(8)}/s  p50 ${p50.toFixed(2)} ms  ${cpuUs.toFixed(1)} µs a call`;
    print(`  ${(sides[index]?.name ?? "").padEnd(9)} ${figures}${ratio}`);
  }
}

function ownCpu(): Promise<number> {
  const { user, system } = process.cpuUsage();
  return Promise.resolve(user + system);
}

async function startServer(kind: "connect" | "own"): Promise<{ url: string; cpu(): Promise<number>; stop(): void }> {
  const path = new URL("rpc-server.ts", import.meta.url).pathname;
  // It ends with its standard input, so also when this process is killed.
  const server = Bun.spawn([process.execPath, path, kind], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const { value } = await server.stdout.getReader().read();
  const url = new TextDecoder().decode(value).trim();
  return {
    url,
    cpu: async () => Number(await (await fetch(`${url}/cpu`)).text()),
    stop: () => server.kill(),
  };
}

/** A like as bytes, with the headers that the gateway sends. */
function setFavoriteRequest(url: string, path = `/${FavoriteService.typeName}/SetFavorite`): Uint8Array {
  const message = create(SetFavoriteRequestSchema, { videoId: 123_456_789n, favorite: true });
  const body = writeFrames({ flags: messageFlags, payload: toBinary(SetFavoriteRequestSchema, message) });
  const head = [
    `POST ${path} HTTP/1.1`,
    `host: ${new URL(url).host}`,
    "content-type: application/grpc-web+proto",
    "x-grpc-web: 1",
    "grpc-timeout: 5000m",
    "x-request-id: bench",
    `authorization: Bearer ${token}`,
    `content-length: ${body.byteLength}`,
  ];
  return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), body]);
}

/** Connections that each have one call in flight; the answer is looked at for its end and its status only. */
function createConnections(url: string, request: Uint8Array): { call(): Promise<void>; close(): void } {
  const { hostname, port } = new URL(url);
  type Connection = { socket: Bun.Socket; answer: string; settle: PromiseWithResolvers<void> };
  const all = new Set<Connection>();
  const idle: Connection[] = [];
  async function open(): Promise<Connection> {
    const connection: Partial<Connection> = { answer: "" };
    connection.socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data(_socket, data) {
          const { answer = "", settle } = connection;
          const so = answer + data.toString("latin1");
          connection.answer = so;
          if (!isWhole(so)) return;
          connection.answer = "";
          if (so.includes("grpc-status: 0\r\n")) settle?.resolve();
          else settle?.reject(new Error(`the call failed: ${so}`));
        },
        close: () => connection.settle?.reject(new Error("the connection was closed")),
      },
    });
    all.add(connection as Connection);
    return connection as Connection;
  }
  return {
    async call() {
      const connection = idle.pop() ?? (await open());
      connection.settle = Promise.withResolvers();
      connection.socket.write(request);
      await connection.settle.promise;
      idle.push(connection);
    },
    close() {
      for (const { socket } of all) socket.end();
    },
  };
}

function isWhole(answer: string): boolean {
  const end = answer.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(answer.slice(0, end))?.[1];
  return length === undefined ? answer.endsWith("0\r\n\r\n") : answer.length >= end + 4 + Number(length);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
