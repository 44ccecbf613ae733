import { afterAll, afterEach, beforeAll, beforeEach } from "bun:test";
import { request as httpRequest } from "node:http";

import { startGateway, type Gateway } from "@flick/dev/gateway.ts";
import { startTestFront, token as restToken, type TestFront } from "@flick/dev/upstash-front/testing.ts";
import { configKey } from "@flick/platform/live-config/document.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { RedisClient } from "bun";

import { startEdgeRedis, startFixtureOrigin, type EdgeRedis, type FixtureOrigin } from "./testing.ts";

/** Starts a Redis and an origin for the tests of one file; the fields of the result are there while a test runs. */
export function setUpLimitTests(): LimitTest {
  const cleanups: (() => unknown)[] = [];
  const t = { log: [], configure, startFront, start } as unknown as LimitTest;
  let edge: EdgeRedis;
  let version = 0;

  beforeAll(async () => {
    edge = await startEdgeRedis();
    t.redis = new RedisClient(edge.server.url);
    t.origin = startFixtureOrigin();
  });
  afterAll(async () => {
    t.redis.close();
    await t.origin.stop();
    await edge.stop();
  });
  beforeEach(async () => {
    await t.redis.send("FLUSHDB", []);
    t.logins = 0;
    t.log.length = 0;
    t.origin.answer({
      login({ password }) {
        t.logins++;
        if (password !== "right one") throw flickError(Reason.WRONG_CREDENTIALS, "wrong");
        return { userId: 7n, token: "t" };
      },
      register: () => ({ userId: 7n, token: "t" }),
      createComment: () => ({}),
      setFollow: () => ({}),
      sendMessage: () => ({}),
      getFeed: () => ({ videos: [], nextBeforeMs: 0n, hasMore: false }),
      publish: () => ({ videoId: 1n }),
    });
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });
  return t;

  async function configure(settings: unknown): Promise<void> {
    await t.redis.set(configKey("gateway"), JSON.stringify({ version: ++version, time: 1, note: "", settings }));
  }

  function startFront(port?: number): TestFront {
    const front = startTestFront(edge.server.url, port);
    cleanups.push(() => front.stop());
    return front;
  }

  async function start(front: { url: string } | null, vars: Record<string, string> = {}): Promise<Gateway> {
    const upstash = front ? { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: restToken } : {};
    const gateway = await startGateway({
      vars: { ORIGIN_URL: t.origin.url, ...upstash, ...vars },
      log: (line) => t.log.push(JSON.parse(line)),
    });
    cleanups.push(() => gateway.stop());
    return gateway;
  }
}

/** Calls from an address of this machine's own choosing: all of 127/8 is its. */
export function call(gateway: Gateway, path: string, options: { from?: string; token?: string; method?: string } = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { from = "127.0.0.1", token, method = "POST" } = options;
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const url = new URL(`/douyin${path}`, gateway.url);
  const request = httpRequest(
    url,
    { method, localAddress: from, agent: false, headers, timeout: 20_000 },
    (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("error", reject);
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, json: JSON.parse(text) });
      });
    },
  );
  request.on("error", reject);
  request.on("timeout", () => request.destroy(new Error("no answer within 20 s")));
  request.end();
  return promise;
}

/** With a password that is wrong, if none is given. */
export const login = (gateway: Gateway, name: string, from?: string, password = "wrong one") =>
  call(gateway, `/user/login?username=${name}&password=${encodeURIComponent(password)}`, from ? { from } : {});

export const passed = (answers: Answer[]) => answers.filter(({ status }) => status !== 429).length;

/** Waits, if need be, until the window that the limits count in has time enough left for a test. */
export async function earlyInWindow(seconds: number): Promise<void> {
  const ms = seconds * 1000;
  const left = ms - (Date.now() % ms);
  if (left < Math.min(ms / 2, 15_000)) await Bun.sleep(left + 5);
}

/**
 * What a test of the limits works with: a Redis of the file's own, since limits and configuration have names that cannot be chosen. It
 * is empty when a test begins, and fronts and gateways end with their test.
 */
export interface LimitTest {
  redis: RedisClient;
  /** Knows one password, and lets anybody do anything else. */
  origin: FixtureOrigin;
  /** What the test's gateways have logged. */
  log: Record<string, unknown>[];
  /** How often the origin was asked for a login. */
  logins: number;
  /** Stores settings of the gateway. */
  configure(settings: unknown): Promise<void>;
  startFront(port?: number): TestFront;
  /** A gateway that counts in the Redis behind that front, if any. */
  start(front: { url: string } | null, vars?: Record<string, string>): Promise<Gateway>;
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  json: Record<string, unknown>;
}
