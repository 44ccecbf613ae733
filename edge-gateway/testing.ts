import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { startGateway, type Gateway } from "@flick/dev/gateway.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
import { createAuthority } from "@flick/platform/access-token/testing.ts";
import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { startTestFront, token as redisToken } from "@flick/dev/upstash-front/testing.ts";
import { configKey } from "@flick/platform/live-config/document.ts";
import { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { MessageService } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import { RelationService } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { UploadService } from "@flick/proto/gen/flick/video/v1/upload_pb.ts";
import { VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { publishEventsPath, streamPath } from "@flick/proto/stream.ts";
import { RedisClient } from "bun";

/** Issues the tokens that gateways in front of a fixture origin take for good. */
export const authority = await createAuthority("fixture");

/** User 42's. */
export const viewerToken = await authority.issue();

/** User 43's. */
export const otherToken = await authority.issue({ userId: 43 });

type Answers = Partial<
  ServiceImpl<typeof UserService> &
    ServiceImpl<typeof VideoService> &
    ServiceImpl<typeof UploadService> &
    ServiceImpl<typeof FavoriteService> &
    ServiceImpl<typeof CommentService> &
    ServiceImpl<typeof RelationService> &
    ServiceImpl<typeof MessageService>
> & {
  /** The live stream of messages. */
  stream?: (request: Request) => Response | Promise<Response>;
  /** The public keys, in place of those of {@link authority}. */
  publicKeys?: (request: Request) => Response | Promise<Response>;
  /** The stream of the progress of videos. */
  publishEvents?: (request: Request) => Response | Promise<Response>;
};

/** A Connect server that answers what a test tells it to: what is tested is the way from HTTP to RPC and back. */
export interface FixtureOrigin {
  url: string;
  /** Replaces every answer; a call without one is answered with UNIMPLEMENTED. */
  answer(answers: Answers): void;
  stop(): Promise<void>;
}

export function startFixtureOrigin(port = 0): FixtureOrigin {
  let answers: Answers = {};
  const nothing = () => new Response("no such path", { status: 404 });
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port,
    idleTimeout: 30,
    maxRequestBodySize: 2 * 1024 ** 3,
    fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/healthz") return new Response("ok");
      if (pathname === publicKeysPath) return answers.publicKeys?.(request) ?? new Response(authority.keySet);
      if (pathname === streamPath) return answers.stream?.(request) ?? nothing();
      if (pathname === publishEventsPath) return answers.publishEvents?.(request) ?? nothing();
      const router = createConnectRouter({ grpc: false, connect: false });
      router.service(UserService, answers).service(VideoService, answers).service(UploadService, answers);
      router.service(FavoriteService, answers).service(CommentService, answers);
      router.service(RelationService, answers).service(MessageService, answers);
      const handler = router.handlers.find(({ requestPath }) => requestPath === pathname);
      return handler ? createFetchHandler(handler)(request) : nothing();
    },
  });
  return {
    url: server.url.origin,
    answer: (next) => void (answers = next),
    stop: () => server.stop(true),
  };
}

/** What came to a fixture's store. */
interface StoredObject {
  headers: Headers;
  bytes: number;
  /** SHA-256. */
  hash: string;
}

/** Object storage that remembers what came, and how it ended: its bytes it throws away. */
export interface FixtureStore {
  /** What is there now, by keys. */
  objects: Map<string, StoredObject>;
  /** Of each request, when it was over: `PUT a`, `DELETE a`; `cut a` where the bytes of a PUT broke off. */
  seen: string[];
  /** How many bytes of PUTs have come so far. */
  taken(): number;
  /** Answers requests in place of the store. */
  answer?: ((request: Request) => Response | Promise<Response>) | undefined;
  /** What a service answers that lets a file be stored. */
  admit(key: string): { ticket: string; contentType: string; putUrl: string; deleteUrl: string; maxBytes: bigint };
  stop(): Promise<void>;
}

export function startFixtureStore(): FixtureStore {
  const objects = new Map<string, StoredObject>();
  const seen: string[] = [];
  let taken = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 30,
    maxRequestBodySize: 2 * 1024 ** 3,
    async fetch(request) {
      if (store.answer) return store.answer(request);
      const key = new URL(request.url).pathname.slice(1);
      if (request.method === "DELETE") {
        objects.delete(key);
        seen.push(`DELETE ${key}`);
        return new Response(null, { status: 204 });
      }
      const hasher = new Bun.CryptoHasher("sha256");
      let bytes = 0;
      try {
        for await (const chunk of request.body ?? []) {
          hasher.update(chunk);
          bytes += chunk.byteLength;
          taken += chunk.byteLength;
        }
      } catch {
        seen.push(`cut ${key}`);
        return new Response(null, { status: 400 });
      }
      objects.set(key, { headers: request.headers, bytes, hash: hasher.digest("hex") });
      seen.push(`${request.method} ${key}`);
      return new Response();
    },
  });
  const store: FixtureStore = {
    objects,
    seen,
    taken: () => taken,
    admit(key) {
      const url = `${server.url.origin}/${key}?signature=secret`;
      return {
        ticket: `ticket of ${key}`,
        contentType: "video/mp4",
        putUrl: url,
        deleteUrl: url,
        maxBytes: 10n ** 12n,
      };
    },
    stop: () => server.stop(true),
  };
  return store;
}

export interface Fixture {
  origin: FixtureOrigin;
  gateway: Gateway;
  /** What the gateway has logged so far, parsed. */
  log: Record<string, unknown>[];
  /** Calls the gateway over a connection of its own; `path` comes after `/douyin`. */
  call(path: string, init?: RequestInit): Promise<Answer>;
  stop(): Promise<void>;
}

interface Answer {
  status: number;
  headers: Headers;
  json: Record<string, unknown>;
}

/** The gateway in workerd in front of a fixture origin. */
export async function startFixture(vars: Record<string, string> = {}): Promise<Fixture> {
  const origin = startFixtureOrigin();
  const log: Record<string, unknown>[] = [];
  const gateway = await startGateway({
    // All of a test's calls come from one address.
    vars: { ORIGIN_URL: origin.url, IP_LIMIT_FACTOR: "1000", ...vars },
    log: (line) => log.push(JSON.parse(line)),
  });
  return {
    origin,
    gateway,
    log,
    async call(path, init) {
      const response = await fetch(`${gateway.url}/douyin${path}`, { redirect: "manual", keepalive: false, ...init });
      const json: Record<string, unknown> = JSON.parse(await response.text());
      return { status: response.status, headers: response.headers, json };
    },
    async stop() {
      await gateway.stop();
      await origin.stop();
    },
  };
}

/** A Redis of the tests' own, as the edge knows it: over HTTP. */
export interface EdgeRedis {
  server: TestServer;
  /** Bindings of a gateway that uses a database of its own in it, where this live configuration is stored. */
  vars(settings?: unknown): Promise<Record<string, string>>;
  stop(): Promise<void>;
}

export async function startEdgeRedis(): Promise<EdgeRedis> {
  const dir = await mkdtemp(join(tmpdir(), "flick-edge-redis-"));
  const server = await startRedis({ dir });
  const fronts: { stop(): Promise<void> }[] = [];
  return {
    server,
    async vars(settings = {}) {
      const url = `${server.url}/${fronts.length}`;
      const front = startTestFront(url);
      fronts.push(front);
      const redis = new RedisClient(url);
      await redis.set(configKey("gateway"), JSON.stringify({ version: 1, time: 1, note: "for a test", settings }));
      redis.close();
      return { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: redisToken };
    },
    async stop() {
      await Promise.all(fronts.map((front) => front.stop()));
      await server.stop();
      await rm(dir, { recursive: true });
    },
  };
}

/** Resolves when the condition holds. */
export async function until(condition: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`nothing came of it within ${withinMs} ms`);
    await Bun.sleep(20);
  }
}
