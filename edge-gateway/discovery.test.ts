import { afterAll, afterEach, beforeAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startGateway, type Gateway } from "@flick/dev/gateway.ts";
import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { startTestFront, token, type TestFront } from "@flick/dev/upstash-front/testing.ts";
import { instancesKey } from "@flick/proto/instances.ts";
import { RedisClient } from "bun";

import { startFixtureOrigin, type FixtureOrigin } from "./testing.ts";

setDefaultTimeout(60_000);

let dir: string;
let server: TestServer;
let front: TestFront;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-discovery-"));
  server = await startRedis({ dir });
  front = startTestFront(server.url);
});
afterAll(async () => {
  await front.stop();
  await server.stop();
  await rm(dir, { recursive: true });
});

/** An origin whose feed says who it is. */
function startOrigin(name: string): FixtureOrigin {
  const origin = startFixtureOrigin();
  origin.answer({
    getFeed: () => ({ videos: [{ id: 1n, title: name }] }),
    login: () => ({ userId: 1n, token: name }),
  });
  origins.push(origin);
  return origin;
}

const origins: FixtureOrigin[] = [];
const gateways: Gateway[] = [];
let redis: RedisClient;
beforeEach(async () => {
  redis = new RedisClient(server.url);
  await redis.del(instancesKey);
});
afterEach(async () => {
  await Promise.all(gateways.splice(0).map((gateway) => gateway.stop()));
  await Promise.all(origins.splice(0).map((origin) => origin.stop()));
  redis.close();
});

const everything = ["user", "video", "favorite", "comment", "relation", "message"];

/** As an origin of that address would announce itself. */
const enter = (url: string, services = everything, id = "id") =>
  redis.hset(instancesKey, url, `9999999999999 ${id} 0 ${JSON.stringify({ services, version: "1", load: 0 })}`);

/** The gateway in workerd. Its static list is an origin called `static`, unless `staticUrl` is given. */
async function start(staticUrl?: string) {
  const logged: string[] = [];
  const gateway = await startGateway({
    vars: {
      ORIGIN_URL: staticUrl ?? startOrigin("static").url,
      UPSTASH_REDIS_REST_URL: front.url,
      UPSTASH_REDIS_REST_TOKEN: token,
      // All of them come from here.
      IP_LIMIT_FACTOR: "1000",
    },
    log: (line) => void logged.push(line),
  });
  gateways.push(gateway);
  // Each page is another one, long past the head, so that none comes from a cache.
  let time = Date.now() - 3_600_000;
  const ask = async () => {
    const response = await fetch(`${gateway.url}/douyin/feed/?latest_time=${(time -= 1000)}`);
    const json = (await response.json()) as { video_list: { title: string }[] };
    return response.status === 200 ? (json.video_list[0]?.title ?? "") : String(response.status);
  };
  let accounts = 0;
  const signIn = async () => {
    const query = `username=${(accounts += 1)}&password=secret1`;
    const response = await fetch(`${gateway.url}/douyin/user/login/?${query}`, { method: "POST" });
    return ((await response.json()) as { token: string }).token || String(response.status);
  };
  /** Who answers, when asked as often. */
  const whoAnswers = async (times = 30) => {
    const names = new Set<string>();
    for (let asked = 0; asked < times; asked++) names.add(await ask());
    return [...names].toSorted();
  };
  return { ask, signIn, whoAnswers, logged };
}

async function until(holds: () => Promise<boolean>, withinMs = 10_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`nothing came of it within ${withinMs} ms`);
    await Bun.sleep(50);
  }
}

test("without announcements calls go to the static list, all of it", async () => {
  const { whoAnswers } = await start(`${startOrigin("one").url},${startOrigin("two").url}`);
  expect(await whoAnswers()).toEqual(["one", "two"]);
});

test("from its first request on, a gateway asks those that are announced, and not the static list", async () => {
  await enter(startOrigin("a").url);
  await enter(startOrigin("b").url);
  const { whoAnswers } = await start();
  expect(await whoAnswers()).toEqual(["a", "b"]);
});

test("one that comes is asked within seconds, one that withdraws no longer", async () => {
  const [a, b] = [startOrigin("a"), startOrigin("b")];
  await enter(a.url);
  const { whoAnswers } = await start();
  expect(await whoAnswers(3)).toEqual(["a"]);
  await enter(b.url);
  await until(async () => (await whoAnswers(10)).includes("b"));
  await redis.hdel(instancesKey, a.url);
  await until(async () => String(await whoAnswers(10)) === "b");
});

test("an instance is asked for what it serves, and the static list for what nobody serves", async () => {
  await enter(startOrigin("users").url, ["user", "relation", "message"]);
  const videos = startOrigin("videos");
  await enter(videos.url, ["video", "favorite", "comment"]);
  const { ask, signIn, whoAnswers } = await start();
  expect(await whoAnswers()).toEqual(["videos"]);
  expect(new Set(await Promise.all(Array.from({ length: 20 }, signIn)))).toEqual(new Set(["users"]));
  await redis.hdel(instancesKey, videos.url);
  await until(async () => (await ask()) === "static");
  expect(await signIn()).toBe("users");
});

test("rubbish in the list is left out", async () => {
  const good = '{"services":["video"],"version":"1","load":0}';
  const rubbish = {
    "http://127.0.0.1:1": "rubbish",
    "http://127.0.0.1:2": "",
    "http://127.0.0.1:3": "1 id 0 {}",
    "ftp://x": `1 id 0 ${good}`,
    "http://user:password@127.0.0.1:4": `1 id 0 ${good}`,
    "http://127.0.0.1:5/?a": `1 id 0 ${good}`,
    "http://127.0.0.1:6": '1 id 0 {"services":"video","version":"1","load":0}',
    "http://127.0.0.1:7": '1 id 0 {"services":["video"],"version":"1","load":-1}',
    "http://127.0.0.1:8": `1 id 0 {"services":["video"],"version":"1","load":0,"x":"${"x".repeat(2000)}"}`,
  };
  for (const [url, value] of Object.entries(rubbish)) await redis.hset(instancesKey, url, value);
  await enter(startOrigin("good").url);
  const { whoAnswers, logged } = await start();
  expect(await whoAnswers()).toEqual(["good"]);
  expect(logged.join("\n")).not.toContain("127.0.0.1:8");
});

test("a list of another kind altogether is none", async () => {
  await redis.set(instancesKey, "a string");
  const { whoAnswers, logged } = await start();
  expect(await whoAnswers(5)).toEqual(["static"]);
  expect(logged.join("\n")).toContain("the list of origins cannot be read");
});

test("while Redis is away, and when it comes back empty, the last list stands", async () => {
  const a = startOrigin("a");
  await enter(a.url);
  const { whoAnswers, logged } = await start();
  expect(await whoAnswers(5)).toEqual(["a"]);
  await server.kill();
  await until(async () => {
    expect(await whoAnswers(5)).toEqual(["a"]);
    return logged.some((line) => line.includes("the list of origins cannot be read"));
  });
  await server.start();
  redis = new RedisClient(server.url);
  await redis.del(instancesKey);
  const emptySince = performance.now();
  await until(async () => {
    expect(await whoAnswers(5)).toEqual(["a"]);
    return performance.now() - emptySince > 4_000;
  });
  await until(async () => String(await whoAnswers(3)) === "static", 30_000);
});

test("a slow origin gets few of the calls, and a hanging one keeps nobody waiting for long", async () => {
  const [a, b, slow] = [startOrigin("a"), startOrigin("b"), startOrigin("slow")];
  for (const { url } of [a, b, slow]) await enter(url);
  const { ask } = await start();
  // Ten times what the others take on a machine that has much to do.
  slow.answer({ getFeed: () => Bun.sleep(600).then(() => ({ videos: [{ id: 1n, title: "slow" }] })) });
  const answers: string[] = [];
  const client = async () => {
    for (let calls = 0; calls < 50; calls++) answers.push(await ask());
  };
  await Promise.all(Array.from({ length: 8 }, client));
  expect(new Set(answers)).toEqual(new Set(["a", "b", "slow"]));
  expect(answers.filter((name) => name === "slow").length).toBeLessThan(40);

  slow.answer({ getFeed: () => new Promise(() => {}) });
  answers.length = 0;
  await Promise.all(Array.from({ length: 8 }, client));
  expect(new Set(answers)).toEqual(new Set(["a", "b"]));
}, 150_000);

test("an origin that is gone but still announced costs nobody a call, reading or writing", async () => {
  await enter(startOrigin("a").url);
  await enter("http://127.0.0.1:9");
  const { whoAnswers, signIn } = await start();
  const names = new Set<string>();
  for (let round = 0; round < 20; round++) names.add(await signIn());
  expect([...names]).toEqual(["a"]);
  expect(await whoAnswers()).toEqual(["a"]);
});
