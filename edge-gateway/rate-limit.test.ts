import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { request as httpRequest } from "node:http";

import { startGateway, type Gateway } from "@flick/dev/gateway.ts";
import { startTestFront, token as restToken, type TestFront } from "@flick/dev/upstash-front/testing.ts";
import { testServers } from "@flick/dev/testing.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { RedisClient } from "bun";
import { Hono } from "hono";
import * as v from "valibot";

import type { GatewayEnv } from "./endpoint.ts";
import { answerError } from "./errors.ts";
import { limitSettings } from "./limit-policies.ts";
import { consoleLog } from "./log.ts";
import { createPseudonyms } from "./pseudonyms.ts";
import { createQuotas } from "./quotas.ts";
import { createRateLimit } from "./rate-limit.ts";
import { connectRedis } from "./redis.ts";
import { tierLimiters } from "./tier-limiters.ts";
import { startFixtureOrigin, until, type FixtureOrigin, otherToken, viewerToken } from "./testing.ts";

setDefaultTimeout(60_000);

let redis: RedisClient;
let redisUrl: string;
let origin: FixtureOrigin;
let logins = 0;
const log: Record<string, unknown>[] = [];
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  // A database of this file's own: limits and configuration have names that cannot be chosen.
  redisUrl = `${(await testServers()).redisUrl}/7`;
  redis = new RedisClient(redisUrl);
  origin = startFixtureOrigin();
});
afterAll(async () => {
  redis.close();
  await origin.stop();
});
beforeEach(async () => {
  await redis.send("FLUSHDB", []);
  logins = 0;
  log.length = 0;
  origin.answer({
    login({ password }) {
      logins++;
      if (password !== "right one") throw flickError(Reason.WRONG_CREDENTIALS, "wrong");
      return { userId: 7n, token: "t" };
    },
    register: () => ({ userId: 7n, token: "t" }),
    createComment: () => ({}),
    setFollow: () => ({}),
    sendMessage: () => ({}),
    getFeed: () => ({ videos: [], nextBeforeMs: 0n, hasMore: false }),
    publish: () => Response.json({ videoId: "1" }),
  });
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

let version = 0;
/** Stores settings of the gateway. */
async function configure(settings: unknown): Promise<void> {
  await redis.set("config::gateway", JSON.stringify({ version: ++version, time: 1, note: "", settings }));
}

function startFront(): TestFront {
  const front = startTestFront(redisUrl);
  cleanups.push(() => front.stop());
  return front;
}

async function start(front: { url: string } | null, vars: Record<string, string> = {}): Promise<Gateway> {
  const upstash = front ? { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: restToken } : {};
  const gateway = await startGateway({
    vars: { ORIGIN_URL: origin.url, ...upstash, ...vars },
    log: (line) => log.push(JSON.parse(line)),
  });
  cleanups.push(() => gateway.stop());
  return gateway;
}

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  json: Record<string, unknown>;
}

/** Calls from an address of this machine's own choosing: all of 127/8 is its. */
function call(gateway: Gateway, path: string, options: { from?: string; token?: string; method?: string } = {}) {
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

const login = (gateway: Gateway, name: string, from?: string, password = "wrong one") =>
  call(gateway, `/user/login?username=${name}&password=${encodeURIComponent(password)}`, from ? { from } : {});

const passed = (answers: Answer[]) => answers.filter(({ status }) => status !== 429).length;

/**
 * Makes calls of which Redis lets `most` pass, until it has counted all of them. A busy machine may take longer to answer than the gateway
 * waits; then other limits apply to some, and more than `most` must not have passed among the rest either.
 */
async function expectExactly(most: number, calls: (attempt: number) => Promise<Answer[]>): Promise<void> {
  for (let attempt = 1; attempt <= 5; attempt++) {
    await earlyInWindow(120);
    logins = 0;
    const answers = await calls(attempt);
    const counted = answers.filter(({ headers }) => String(headers["ratelimit-policy"]).endsWith(";w=120"));
    expect(passed(counted)).toBeLessThanOrEqual(most);
    if (counted.length === answers.length) {
      expect(passed(answers)).toBe(most);
      expect(logins).toBe(most);
      return;
    }
    await Bun.sleep(3_000);
  }
}

const awayMessage = "limits cannot be counted in Redis: the location's own apply";

/** Waits, if need be, until the window that the limits count in has time enough left for a test. */
async function earlyInWindow(seconds: number): Promise<void> {
  const ms = seconds * 1000;
  const left = ms - (Date.now() % ms);
  if (left < Math.min(ms / 2, 15_000)) await Bun.sleep(left + 5);
}

/** No limit here depends on whose it is. */
const token = viewerToken;

const off = { requests: { perUser: "off", perIp: "off" } } as const;
const none = { count: 0 };
const wide = { count: 100_000, seconds: 120 };

describe("the exact limits", () => {
  test("let through so many of 200 logins at once, and not one more", async () => {
    const pair = { count: 10, seconds: 120 };
    await configure({ limits: { ...off, login: { perIp: none, perAccountAndIp: pair, perAccount: none } } });
    const gateway = await start(startFront());
    await expectExactly(10, (attempt) =>
      Promise.all(Array.from({ length: 200 }, () => login(gateway, `zoe${attempt}`))),
    );
  });

  test("are shared by gateways, each with a front of its own", async () => {
    const perIp = { count: 20, seconds: 120 };
    await configure({ limits: { ...off, login: { perIp, perAccountAndIp: none, perAccount: none } } });
    const [one, other] = [await start(startFront()), await start(startFront())];
    await expectExactly(20, (attempt) =>
      Promise.all(
        Array.from({ length: 60 }, (_, index) =>
          login(index % 2 === 0 ? one : other, `somebody${index}`, `127.0.3.${attempt}`),
        ),
      ),
    );
  });

  test("say what they are, how much is left, and how long to wait", async () => {
    await configure({ limits: { comment: { perUser: { count: 2, seconds: 100 } } } });
    const gateway = await start(startFront());
    await earlyInWindow(100);
    const comment = () => call(gateway, "/comment/action?video_id=1&action_type=1&comment_text=hm", { token });
    const [first, , third] = [await comment(), await comment(), await comment()];
    expect(first?.status).toBe(200);
    expect(first?.headers).toMatchObject({
      "ratelimit-limit": "2",
      "ratelimit-remaining": "1",
      "ratelimit-policy": "2;w=100",
    });
    expect(third?.status).toBe(429);
    const wait = Number(third?.headers["retry-after"]);
    expect(wait).toBeGreaterThan(0);
    expect(wait).toBeLessThanOrEqual(100);
    expect(third?.headers).toMatchObject({
      "ratelimit-limit": "2",
      "ratelimit-remaining": "0",
      "ratelimit-reset": String(wait),
      "ratelimit-policy": "2;w=100",
    });
    expect(third?.headers["access-control-expose-headers"]).toContain("ratelimit-remaining");
    expect(third?.json).toMatchObject({
      status_code: Reason.RATE_LIMITED,
      status_msg: `Too many comments (at most 2 in 100 s): try again in ${wait} s.`,
      comment: { id: 0 },
    });
  });

  test("let a caller in again when the window has moved on", async () => {
    await configure({ limits: { message: { perUser: { count: 1, seconds: 2 } } } });
    const gateway = await start(startFront());
    const send = () => call(gateway, "/message/action?to_user_id=2&action_type=1&content=hm", { token });
    await earlyInWindow(2);
    expect((await send()).status).toBe(200);
    const refused = await send();
    expect(refused.status).toBe(429);
    await Bun.sleep(Number(refused.headers["retry-after"]) * 1000 + 100);
    expect((await send()).status).toBe(200);
  });

  test.each([
    ["publish", "/publish/action?title=x"],
    ["cover", "/publish/cover?video_id=2&time_ms=1"],
    ["follow", "/relation/action?to_user_id=2&action_type=1"],
    ["register", "/user/register?username=zoe&password=secret1"],
  ])("hold for %s", async (name, path) => {
    const quota = { count: 1, seconds: 1000 };
    await configure({ limits: { [name]: name === "register" ? { perAccount: quota } : { perUser: quota } } });
    const gateway = await start(startFront());
    await earlyInWindow(1000);
    await call(gateway, path, { token });
    expect((await call(gateway, path, { token })).status).toBe(429);
  });

  test("put neither names nor addresses nor tokens into Redis", async () => {
    const gateway = await start(startFront());
    await login(gateway, "zoefromspace", "127.0.0.9", "right one");
    await call(gateway, "/message/action?to_user_id=2&action_type=1&content=hm", { token: otherToken });
    await until(() => log.filter(({ message }) => message === "request").length >= 3);
    const keys = (await redis.send("KEYS", ["limit::*"])) as string[];
    expect(keys.length).toBeGreaterThanOrEqual(5);
    for (const key of keys) expect(key).toMatch(/^limit::\w+\.\w+:[0-9a-f]{32}(:\d+)?$/);
    expect(JSON.stringify(log)).not.toMatch(/zoefromspace|127\.0\.0\.9/);
    for (const part of otherToken.split(".")) expect(JSON.stringify(log)).not.toContain(part);
  });
});

describe("logins", () => {
  const limits = {
    ...off,
    login: {
      perIp: wide,
      perAccountAndIp: { count: 3, seconds: 1000 },
      perAccount: { count: 6, seconds: 1000 },
    },
  };

  test("are limited for an account from one address, under all forms of its name, while others go on", async () => {
    await configure({ limits });
    const gateway = await start(startFront());
    await earlyInWindow(1000);
    for (const name of ["zoe", "ZOE", "%EF%BD%9Aoe"]) expect((await login(gateway, name)).status).toBe(200);
    expect((await login(gateway, "%20Zoe")).status).toBe(429);
    expect((await login(gateway, "zoe", "127.0.0.2")).status).toBe(200);
    expect((await login(gateway, "bob")).status).toBe(200);
  });

  test("from many addresses are limited for the account, but not where its owner has logged in before", async () => {
    await configure({ limits });
    const gateway = await start(startFront());
    await earlyInWindow(1000);
    expect((await login(gateway, "zoe", "127.0.0.2", "right one")).status).toBe(200);
    await Bun.sleep(200);
    const attack = Array.from({ length: 20 }, (_, index) => login(gateway, "zoe", `127.0.1.${index + 1}`));
    expect(passed(await Promise.all(attack))).toBe(5);
    expect((await login(gateway, "zoe", "127.0.0.3", "right one")).status).toBe(429);
    expect((await login(gateway, "zoe", "127.0.0.2", "right one")).json).toMatchObject({ status_code: 0, user_id: 7 });
  });

  test("from one address are limited over all accounts, as many times as the factor says", async () => {
    const login1 = { perIp: { count: 2, seconds: 1000 }, perAccountAndIp: wide, perAccount: wide };
    await configure({ limits: { ...off, login: login1 } });
    const front = startFront();
    const gateway = await start(front);
    await earlyInWindow(1000);
    const statuses = [];
    for (const name of ["a", "b", "c"]) statuses.push((await login(gateway, name)).status);
    expect(statuses).toEqual([200, 200, 429]);
    const widened = await start(front, { IP_LIMIT_FACTOR: "2" });
    expect((await login(widened, "d")).status).toBe(200);
    expect((await login(widened, "e")).status).toBe(200);
    expect((await login(widened, "f")).status).toBe(429);
  });
});

describe("the location's own limits", () => {
  test("hold for every request, by address, with the endpoint's empty fields", async () => {
    const gateway = await start(startFront());
    // The gateway's start has been seen by a health check, from another address.
    const feed = () => call(gateway, "/feed", { method: "GET", from: "127.0.0.5" });
    await earlyInWindow(10);
    const answers = await Promise.all(Array.from({ length: 130 }, feed));
    expect(passed(answers)).toBe(100);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.json).toMatchObject({
      status_code: Reason.RATE_LIMITED,
      status_msg: "Too many requests (at most 100 in 10 s): try again in 10 s.",
      video_list: [],
      next_time: 0,
    });
    expect(refused?.headers).toMatchObject({
      "retry-after": "10",
      "ratelimit-limit": "100",
      "ratelimit-remaining": "0",
      "ratelimit-reset": "10",
      "ratelimit-policy": "100;w=10",
    });
    // What is not as it should be counts, too.
    expect((await call(gateway, "/feed", { method: "POST", from: "127.0.0.5" })).status).toBe(429);
    for (const path of ["/openapi.json", "/docs"]) {
      expect((await call(gateway, `/..${path}`, { method: "GET", from: "127.0.0.5" })).status).toBe(429);
    }
    expect((await call(gateway, "/nowhere", { method: "GET", from: "127.0.0.5" })).status).toBe(429);
    expect((await call(gateway, "/feed", { method: "GET", from: "127.0.0.2" })).status).toBe(200);
  });

  test("take another tier while the gateway runs, within 10 s", async () => {
    const gateway = await start(startFront());
    const feed = () => call(gateway, "/feed", { method: "GET" });
    await configure({ limits: { requests: { perIp: "strict" } } });
    const asked = Date.now();
    let status = 200;
    while (status === 200 && Date.now() - asked < 20_000) {
      ({ status } = await feed());
      await Bun.sleep(200);
    }
    expect(status).toBe(429);
    const tookAt = log.find(({ message }) => message === "configuration taken")?.["time"];
    expect(Date.parse(String(tookAt)) - asked).toBeLessThan(10_000);
    await configure({ limits: { requests: { perIp: "off" } } });
    const deadline = Date.now() + 10_000;
    while ((await feed()).status !== 200) {
      if (Date.now() > deadline) throw new Error("the limit stayed");
      await Bun.sleep(200);
    }
  });
});

describe("viewers", () => {
  /** The limits alone, in an app that believes what a test says of its viewer. */
  function limitsFor(front: TestFront, settings: object) {
    const app = new Hono<GatewayEnv>();
    const limits = createRateLimit({
      limiters: tierLimiters({}, { ipFactor: 1 }),
      quotas: createQuotas(connectRedis({ url: front.url, token: restToken }), consoleLog),
      pseudonym: createPseudonyms("secret"),
      addressOf: () => "203.0.113.7",
      ipFactor: 1,
      settings: () => v.parse(limitSettings, settings),
    });
    app.onError(answerError(consoleLog));
    app.use(async (c, next) => {
      const viewer = c.req.query("viewer");
      if (viewer !== undefined) c.set("viewer", Number(viewer));
      await next();
    });
    app.get("/request", async (c) => {
      await limits.request(c);
      return c.text("");
    });
    app.get("/comment", async (c) => {
      await limits.call(c, "comment", "");
      return c.text("");
    });
    return async (path: string) => (await app.request(path)).status;
  }

  test("are counted one by one, wherever they come from, and apart from those who are not signed in", async () => {
    const ask = limitsFor(startFront(), { requests: { perUser: "strict", perIp: "strict" } });
    await earlyInWindow(60);
    for (let i = 0; i < 10; i++) expect(await ask("/request?viewer=1")).toBe(200);
    expect(await ask("/request?viewer=1")).toBe(429);
    expect(await ask("/request?viewer=2")).toBe(200);
    expect(await ask("/request")).toBe(200);
  });

  test("have quotas of their own", async () => {
    const ask = limitsFor(startFront(), { comment: { perUser: { count: 2, seconds: 1000 } } });
    await earlyInWindow(1000);
    const statuses = [];
    for (const viewer of [1, 1, 1, 2, 2, 2]) statuses.push(await ask(`/comment?viewer=${viewer}`));
    expect(statuses).toEqual([200, 200, 429, 200, 200, 429]);
  });

  test("get more at once when their quota is raised, also those who had used it up", async () => {
    const settings = { comment: { perUser: { count: 1, seconds: 1000 } } };
    const ask = limitsFor(startFront(), settings);
    await earlyInWindow(1000);
    expect([await ask("/comment?viewer=1"), await ask("/comment?viewer=1")]).toEqual([200, 429]);
    settings.comment.perUser.count = 3;
    const raised = [await ask("/comment?viewer=1"), await ask("/comment?viewer=1"), await ask("/comment?viewer=1")];
    expect(raised).toEqual([200, 200, 429]);
    settings.comment.perUser.count = 0;
    expect(await ask("/comment?viewer=1")).toBe(200);
  });
});

describe("without Redis", () => {
  test("reads and writes go on under the location's limits, logins in a strict tier, and exactness comes back", async () => {
    const front = startFront();
    await configure({ limits: { comment: { perUser: { count: 1, seconds: 1000 } } } });
    const gateway = await start(front);
    const comment = () => call(gateway, "/comment/action?video_id=1&action_type=1&comment_text=hm", { token });
    await earlyInWindow(1000);
    await front.stop();
    expect((await call(gateway, "/feed", { method: "GET" })).status).toBe(200);
    for (let i = 0; i < 5; i++) expect((await comment()).status).toBe(200);
    await earlyInWindow(60);
    const answers = await Promise.all(Array.from({ length: 25 }, (_, index) => login(gateway, `somebody${index}`)));
    expect(passed(answers)).toBe(10);
    expect(answers.find(({ status }) => status === 429)?.headers["ratelimit-policy"]).toBe("10;w=60");
    const warnings = log.filter(({ message }) => message === awayMessage);
    expect(warnings.length).toBeGreaterThan(0);
    expect(warnings.length).toBeLessThan(5);

    const port = Number(new URL(front.url).port);
    const again = startTestFront(redisUrl, port);
    cleanups.push(() => again.stop());
    await Bun.sleep(2_500);
    expect((await comment()).status).toBe(200);
    expect((await comment()).status).toBe(429);
  });

  test("a gateway that has none counts for itself, and by address as often as the factor says", async () => {
    const gateway = await start(null, { IP_LIMIT_FACTOR: "2" });
    await earlyInWindow(60);
    const answers = await Promise.all(Array.from({ length: 25 }, (_, index) => login(gateway, `somebody${index}`)));
    expect(passed(answers)).toBe(20);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.headers["ratelimit-policy"]).toBe("20;w=60");
  });
});

describe("what is turned off", () => {
  test("is answered with a sentence, and the rest goes on", async () => {
    await configure({ features: { registration: false, publishing: false, comments: false, messages: false } });
    origin.answer({ deleteComment: () => ({}), login: () => ({ userId: 7n, token: "t" }) });
    const gateway = await start(startFront());
    const closed: [string, object][] = [
      ["/user/register?username=zoe&password=secret1", { token: "", user_id: 0 }],
      ["/comment/action?video_id=1&action_type=1&comment_text=hm", { comment: { id: 0 } }],
      ["/message/action?to_user_id=2&action_type=1&content=hm", {}],
    ];
    for (const [path, empty] of closed) {
      const { status, json } = await call(gateway, path, { token });
      expect(status).toBe(200);
      expect(json).toMatchObject({
        status_code: Reason.TURNED_OFF,
        status_msg: expect.stringContaining("at the moment"),
      });
      expect(json).toMatchObject(empty);
    }
    const form = new FormData();
    form.set("data", new Blob(["x"]), "x.mp4");
    const published = await fetch(`${gateway.url}/douyin/publish/action`, { method: "POST", body: form });
    expect(await published.json()).toMatchObject({ status_code: Reason.TURNED_OFF, video_id: 0 });
    expect(
      (await call(gateway, "/comment/action?video_id=1&action_type=2&comment_id=3", { token })).json,
    ).toMatchObject({ status_code: 0 });
    expect((await login(gateway, "zoe")).json).toMatchObject({ status_code: 0 });
  });
});
