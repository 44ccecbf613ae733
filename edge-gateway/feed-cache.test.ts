import { afterAll, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { startGateway } from "@flick/dev/gateway.ts";
import { flickError } from "@flick/proto/errors.ts";
import { feedGenerations } from "@flick/proto/feed-cache.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { VideoStatus, type GetFeedResponseSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { RedisClient } from "bun";

import { authority, startEdgeRedis, startFixtureOrigin, until, type EdgeRedis, type FixtureOrigin } from "./testing.ts";

setDefaultTimeout(60_000);

let edge: EdgeRedis;
let redis: RedisClient;
let origin: FixtureOrigin;
/** Two locations that share Redis, where pages stay fresh for as long as the tests last. */
let one: Location;
let other: Location;
/** What they are bound to. */
let lasting: Record<string, string>;
/** One where they do not stay fresh for long, and how to have more of these. */
let short: Location;
let brief: Record<string, string>;
beforeAll(async () => {
  edge = await startEdgeRedis();
  lasting = await edge.vars({ feed: { freshMs: 60_000, staleMs: 60_000 } });
  brief = await edge.vars({ feed: { freshMs: 100, staleMs: 100 } });
  redis = new RedisClient(edge.server.url);
  origin = startFixtureOrigin();
  [one, other, short] = await Promise.all([startLocation(lasting), startLocation(lasting), startLocation(brief)]);
});
afterAll(async () => {
  redis.close();
  await Promise.all(locations.map(({ stop }) => stop()));
  await origin.stop();
  await edge.stop();
});

const locations: Location[] = [];
/** Longer than a page of the short-lived ones may be served. */
const outlive = () => Bun.sleep(110);

interface Location {
  url: string;
  log: Record<string, unknown>[];
  /** @param path what comes behind `/douyin/feed/`. */
  feed(path: string, init?: RequestInit): Promise<Answer>;
  stop(): Promise<void>;
}

interface Answer {
  status: number;
  /** `x-cache`. */
  from: string | null;
  text: string;
  json: { status_code: number; status_msg: string; video_list: Record<string, unknown>[]; next_time: number };
}

async function startLocation(vars: Record<string, string>): Promise<Location> {
  const log: Record<string, unknown>[] = [];
  const gateway = await startGateway({
    vars: { ORIGIN_URL: origin.url, IP_LIMIT_FACTOR: "100000", ...vars },
    log: (line) => log.push(JSON.parse(line)),
  });
  const location: Location = {
    url: gateway.url,
    log,
    async feed(path, init) {
      const response = await fetch(`${gateway.url}/douyin/feed/${path}`, init);
      const text = await response.text();
      const json = (text === "" ? null : JSON.parse(text)) as Answer["json"];
      return { status: response.status, from: response.headers.get("x-cache"), text, json };
    },
    stop: gateway.stop,
  };
  locations.push(location);
  return location;
}

/** Calls for pages, by what they asked for. */
let calls: { beforeMs: number; count: number; authorization: string | null }[] = [];
let times = 1_600_000_000_000;
/** A page that no other test asks for. */
const newPage = () => `?latest_time=${(times += 1000)}`;

const video = (id: number, title = "a 🎬 title", authorId = 7) => ({
  id: BigInt(id),
  author: { id: BigInt(authorId), name: "zoë", followerCount: 5n },
  playUrl: "http://oss/v.mp4",
  favoriteCount: 1n,
  commentCount: 2n,
  title,
  status: VideoStatus.READY,
});

const newest = Date.now() - 3_600_000;

function answerPages(answer: () => Promise<MessageInitShape<typeof GetFeedResponseSchema>>): void {
  calls = [];
  origin.answer({
    getFeed({ beforeMs, count }, { requestHeader }) {
      calls.push({ beforeMs: Number(beforeMs), count, authorization: requestHeader.get("authorization") });
      return answer();
    },
  });
}

const page = {
  videos: [video(1), video(2)],
  nextBeforeMs: 1_500_000_000_000n,
  hasMore: true,
  newestMs: BigInt(newest),
};

beforeEach(() => answerPages(() => Promise.resolve(page)));

describe("a page", () => {
  test("comes from the origin once, then from memory, and at another location from Redis", async () => {
    const path = newPage();
    const answers = [await one.feed(path), await one.feed(path)];
    await until(() => calls.length === 1);
    await pageIsShared(path);
    answers.push(await other.feed(path), await other.feed(path));
    expect(answers.map(({ from }) => from)).toEqual(["origin", "memory", "shared", "memory"]);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(calls).toEqual([{ beforeMs: times, count: 30, authorization: null }]);
    expect(answers[0]?.json).toMatchObject({ status_code: 0, status_msg: "success", next_time: 1_500_000_000_000 });
    expect(answers[0]?.json.video_list[0]).toMatchObject({
      id: 1,
      title: "a 🎬 title",
      favorite_count: 1,
      is_favorite: false,
    });
  });

  test("comes from the location's cache when it is no longer in memory", async () => {
    const feed = { freshMs: 60_000, staleMs: 60_000, memoryPages: 1 };
    const small = await startLocation(await edge.vars({ feed }));
    const [path, another] = [newPage(), newPage()];
    expect((await small.feed(path)).from).toBe("origin");
    expect((await small.feed(another)).from).toBe("origin");
    expect((await small.feed(path)).from).toBe("edge");
    expect(calls).toHaveLength(2);
  });

  test("is asked of the origin at most twice by 1 000 requests at once at two locations", async () => {
    answerPages(async () => {
      await Bun.sleep(100);
      return page;
    });
    const path = newPage();
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_, index) => (index % 2 === 0 ? one : other).feed(path)),
    );
    expect(answers.filter(({ json }) => json.video_list.length === 2)).toHaveLength(1000);
    expect(calls.length).toBeLessThanOrEqual(2);
  });

  test("is asked of the origin by one location, and the others wait for it", async () => {
    // On a busy machine a thousand requests at once can be too much for Redis, which is then left alone for a while.
    await eventually(async () => {
      const path = newPage();
      await one.feed(path);
      return (await other.feed(path)).from === "shared";
    }, 10_000);
    answerPages(async () => {
      await Bun.sleep(100);
      return page;
    });
    const path = newPage();
    const answers = await Promise.all([one.feed(path), other.feed(path)]);
    expect(new Set(answers.map(({ from }) => from))).toEqual(new Set(["origin", "shared"]));
    expect(calls).toHaveLength(1);
  });

  test("is asked of the origin hardly more often by 1 000 requests at once without Redis", async () => {
    const lone = await startLocation({});
    answerPages(async () => {
      await Bun.sleep(100);
      return page;
    });
    const path = newPage();
    const began = Date.now();
    const answers = await Promise.all(Array.from({ length: 1000 }, () => lone.feed(path)));
    expect(answers.filter(({ json }) => json.video_list.length === 2)).toHaveLength(1000);
    // Without Redis the gateway goes by the defaults, by which a page is fresh for a second.
    expect(calls.length).toBeLessThanOrEqual(2 + (Date.now() - began) / 1000);
  });

  test("is one page whatever it is called, and nobody's", async () => {
    await forget();
    const head = await startLocation(lasting);
    const now = Date.now();
    const names = [
      "",
      "?latest_time=0",
      "?latest_time=-1",
      `?latest_time=${now}`,
      `?latest_time=${now - 500}`,
      `?latest_time=${Math.floor(now / 1000)}`,
      `?latest_time=${now + 86_400_000}`,
      `?cursor=${now + 30_000}`,
      "?count=30",
      "?count=0",
      "?count=500",
    ];
    origin.answer({
      getFeed({ beforeMs, count }, { requestHeader }) {
        calls.push({ beforeMs: Number(beforeMs), count, authorization: requestHeader.get("authorization") });
        return page;
      },
      getFeedViews: ({ videoIds, authorIds }) => ({
        favoriteCounts: videoIds,
        commentCounts: videoIds,
        views: [{ isFavorite: videoIds.map(() => true), isFollow: authorIds.map(() => true) }],
      }),
    });
    for (const name of names) await head.feed(name, await as("somebody"));
    for (const name of names) expect((await head.feed(name)).json.video_list[0]).toMatchObject({ is_favorite: false });
    expect(calls).toEqual([{ beforeMs: 0, count: 30, authorization: null }]);
    await head.feed("?count=1");
    expect(calls.at(-1)).toEqual({ beforeMs: 0, count: 1, authorization: null });
  });

  test("before a moment that is almost now is the head only while nothing is newer", async () => {
    await forget();
    const fresh = await startLocation(lasting);
    const newestMs = Date.now() - 2_000;
    answerPages(() => Promise.resolve({ ...page, newestMs: BigInt(newestMs) }));
    await fresh.feed(`?latest_time=${newestMs + 1}`);
    await fresh.feed(`?latest_time=${newestMs}`);
    await fresh.feed(`?latest_time=${newestMs - 1}`);
    expect(calls.map(({ beforeMs }) => beforeMs)).toEqual([0, newestMs, newestMs - 1]);
  });

  test("is served while one request refreshes it", async () => {
    const stale = await startLocation(await edge.vars({ feed: { freshMs: 50, staleMs: 60_000 } }));
    const path = newPage();
    await stale.feed(path);
    const release = Promise.withResolvers<void>();
    answerPages(async () => {
      await release.promise;
      return { ...page, videos: [video(9)] };
    });
    await Bun.sleep(60);
    const during = await Promise.all(Array.from({ length: 50 }, () => stale.feed(path)));
    expect(new Set(during.map(({ from }) => from))).toEqual(new Set(["memory, stale"]));
    expect(during[0]?.json.video_list).toHaveLength(2);
    await until(() => calls.length > 0);
    release.resolve();
    await eventually(async () => (await stale.feed(path)).json.video_list.length === 1);
  });

  test("that is too old is waited for", async () => {
    const path = newPage();
    await short.feed(path);
    answerPages(async () => {
      return { ...page, videos: [video(9)] };
    });
    await outlive();
    expect(await short.feed(path)).toMatchObject({ from: "origin", json: { video_list: [{ id: 9 }] } });
  });

  test("is answered to HEAD without its body", async () => {
    const { status, from, text } = await one.feed(newPage(), { method: "HEAD" });
    expect({ status, from, text }).toEqual({ status: 200, from: "origin", text: "" });
  });

  test("says in the log where it came from", async () => {
    const path = newPage();
    await one.feed(path);
    await one.feed(path);
    await until(() => one.log.filter(({ route }) => route === "/douyin/feed").length >= 2);
    expect(one.log.filter(({ message }) => message === "request").slice(-2)).toMatchObject([
      { cache: "origin" },
      { cache: "memory" },
    ]);
  });
});

describe("when", () => {
  test("the origin is away, pages that are known are served and others are not", async () => {
    const path = newPage();
    await short.feed(path);
    answerPages(() => Promise.reject(flickError(Reason.UNAVAILABLE, "away")));
    await outlive();
    for (let round = 0; round < 3; round++) {
      const { status, from, json } = await short.feed(path);
      expect([status, from, json.video_list.length]).toEqual([200, "memory, stale", 2]);
    }
    // At a location that has never seen it, too.
    const far = await startLocation(brief);
    expect((await far.feed(path)).from).toBe("memory, stale");
    const cold = await short.feed(newPage());
    expect(cold.status).toBe(503);
    expect(cold.json).toMatchObject({ status_code: Reason.UNAVAILABLE, video_list: [], next_time: 0 });
    answerPages(() => Promise.resolve({ ...page, videos: [video(9)] }));
    await eventually(async () => (await short.feed(path)).json.video_list.length === 1);
  });

  test("the origin is away for longer than a page is kept for, it is not served", async () => {
    // What comes of a call may take 6 s, so that much is always allowed.
    const strict = await startLocation(await edge.vars({ feed: { freshMs: 20, staleMs: 40, errorMs: 0 } }));
    const path = newPage();
    await strict.feed(path);
    answerPages(() => Promise.reject(flickError(Reason.UNAVAILABLE, "away")));
    expect((await strict.feed(path)).status).toBe(200);
    await eventually(async () => (await strict.feed(path)).status === 503, 10_000);
  });

  test("the origin hangs, a page that is known is served all the same", async () => {
    const path = newPage();
    await short.feed(path);
    const release = Promise.withResolvers<void>();
    answerPages(async () => {
      await release.promise;
      return page;
    });
    await outlive();
    expect(await short.feed(path)).toMatchObject({ status: 200, from: "memory, stale" });
    release.resolve();
  });

  test("Redis goes away and comes back, pages come from the origin and then from Redis", async () => {
    const [here, there] = await Promise.all([startLocation(brief), startLocation(brief)]);
    const path = newPage();
    await here.feed(path);
    await edge.server.stop();
    await outlive();
    expect((await here.feed(path)).from).toBe("origin");
    expect((await here.feed(path)).from).toBe("memory");
    expect((await there.feed(newPage())).from).toBe("origin");
    await edge.server.start();
    // Redis is tried again after its rest.
    await eventually(async () => {
      const again = newPage();
      await here.feed(again);
      return (await there.feed(again)).from === "shared";
    }, 15_000);
  });

  test.each([
    ["head", ""],
    ["all", "?latest_time=1600000000500"],
  ] as const)("the generation of %s changes, a page of the old one is not taken from Redis", async (name, path) => {
    await forget();
    const first = await startLocation(lasting);
    expect((await first.feed(path)).from).toBe("origin");
    await pageIsShared(path);
    await redis.set(feedGenerations[name], crypto.randomUUID());
    const second = await startLocation(lasting);
    expect((await second.feed(path)).from).toBe("origin");
    // The first one hears of it when it next reads Redis, and then of all its pages at once.
    expect((await first.feed(path)).from).toBe("memory");
    await first.feed(newPage());
    expect((await first.feed(path)).from).toBe("shared");
  });

  test("the generation changes while the origin answers, its answer is not taken from Redis", async () => {
    const path = newPage();
    answerPages(async () => {
      await redis.set(feedGenerations.all, crypto.randomUUID());
      return page;
    });
    await one.feed(path);
    await pageIsShared(path);
    answerPages(() => Promise.resolve(page));
    expect((await other.feed(path)).from).toBe("origin");
  });

  const poison: [what: string, change: (head: Record<string, unknown>, answer: Answer["json"]) => void][] = [
    ["of another version", (head) => (head["version"] = 999)],
    ["of another page", (head) => (head["key"] = "1:30")],
    ["without its time", (head) => delete head["fetchedAt"]],
    ["from the future", (head) => (head["fetchedAt"] = Date.now() + 3_600_000)],
    ["with text in place of a time", (head) => (head["fetchedAt"] = "now")],
    ["with generations of another form", (head) => (head["generations"] = ["", ""])],
    ["somebody's", (_, { video_list }) => ((video_list[0] ?? {})["is_favorite"] = true)],
    ["with a field too many", (_, { video_list }) => ((video_list[0] ?? {})["html"] = "<script>")],
    ["with a field too few", (_, { video_list }) => delete (video_list[1] ?? {})["title"]],
    ["with an author of another form", (_, { video_list }) => ((video_list[1] ?? {})["author"] = { id: 1 })],
    ["with text for a count", (_, { video_list }) => ((video_list[1] ?? {})["favorite_count"] = "9")],
    ["with a count below 0", (_, { video_list }) => ((video_list[1] ?? {})["favorite_count"] = -9)],
    ["without videos", (_, answer) => Object.assign(answer, { video_list: null })],
  ];
  test.each(poison)("Redis has a page %s, it is refused", async (_what, change) => {
    const path = newPage();
    const { text } = await one.feed(path);
    const key = await pageIsShared(path);
    const stored = (await redis.get(key)) ?? "";
    const [head, answer] = stored.split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
    change(head ?? {}, answer as unknown as Answer["json"]);
    const poisoned = [head, answer].map((part) => JSON.stringify(part)).join("\n");
    expect(poisoned).not.toBe(stored);
    await redis.set(key, poisoned);
    await until(() => calls.length === 1);
    expect(await other.feed(path)).toMatchObject({ from: "origin", text });
  });

  test("Redis has rubbish in place of a page, it is refused", async () => {
    for (const rubbish of ["", "\n", "null\nnull", "{", "[]\n[]", '{"version":1}', "\u0000".repeat(100)]) {
      const path = newPage();
      await one.feed(path);
      await redis.set(await pageIsShared(path), rubbish);
      expect((await other.feed(path)).from).toBe("origin");
    }
  });

  test("clients ask for thousands of pages, Redis keeps a bounded number of them", async () => {
    for (let round = 0; round < 12; round++)
      await Promise.all(Array.from({ length: 50 }, () => one.feed(`${newPage()}&count=1`)));
    const keys = (await redis.send("KEYS", ["edge::feed::page::*"])) as string[];
    expect(keys.filter((key) => !key.includes("head")).length).toBeLessThanOrEqual(512);
    expect(keys.length).toBeGreaterThan(50);
    expect(await redis.pttl(keys[0] ?? "")).toBeGreaterThan(0);
  });
});

describe("a viewer", () => {
  const views: { videoIds: bigint[]; authorIds: bigint[]; tokens: string[] }[] = [];
  beforeEach(() => {
    views.length = 0;
    calls = [];
    origin.answer({
      getFeed({ beforeMs, count }, { requestHeader }) {
        calls.push({ beforeMs: Number(beforeMs), count, authorization: requestHeader.get("authorization") });
        return {
          ...page,
          videos: [video(1, 'one "🎬" false', 7), video(2, "two\u2028", 8), video(3, "three", 7)],
        };
      },
      async getFeedViews({ videoIds, authorIds, tokens }) {
        const names = tokens.map((token) => nameOf.get(token) ?? "");
        views.push({ videoIds, authorIds, tokens: names });
        await Bun.sleep(names.includes("slow") ? 300 : 0);
        return {
          favoriteCounts: [9007199254740991n, 0n, 10n],
          commentCounts: [3n, 12345n, 2n],
          views: names.map((name) => {
            // Good at the edge, and ended since.
            if (name === "bad") return { refusal: "the token is not valid" };
            return { isFavorite: [name === "mine", false, name.endsWith("7")], isFollow: [false, name === "mine"] };
          }),
        };
      },
    });
  });

  test("gets everybody's page with what is their own in it, by one call", async () => {
    const path = newPage();
    const everybodys = await one.feed(path);
    const theirs = await one.feed(`${path}&token=${await tokenOf("mine")}`);
    expect(theirs.from).toBe("memory");
    const [first, second, third] = everybodys.json.video_list as { author: object }[];
    expect(theirs.json).toEqual({
      ...everybodys.json,
      video_list: [
        { ...first, favorite_count: 9007199254740991, comment_count: 3, is_favorite: true },
        { ...second, favorite_count: 0, comment_count: 12345, author: { ...second?.author, is_follow: true } },
        { ...third, favorite_count: 10 },
      ],
    });
    expect(views).toEqual([{ videoIds: [1n, 2n, 3n], authorIds: [7n, 8n], tokens: ["mine"] }]);
    expect((await one.feed(path)).text).toBe(everybodys.text);
    expect(calls).toHaveLength(1);
  });

  test("whose token is bad is refused, also when the page is there", async () => {
    const path = newPage();
    await one.feed(path);
    const { status, json } = await one.feed(path, await as("bad"));
    expect(status).toBe(401);
    expect(json).toMatchObject({
      status_code: Reason.UNAUTHENTICATED,
      status_msg: "the token is not valid",
      video_list: [],
    });
  });

  test("is asked about together with others while the origin is busy, and gets their own all the same", async () => {
    const path = newPage();
    await one.feed(path);
    const slow = one.feed(path, await as("slow"));
    await until(() => views.length === 1);
    const names = Array.from({ length: 40 }, (_, index) => (index === 20 ? "bad" : `viewer${index}`));
    const answers = await Promise.all((await Promise.all(names.map(as))).map((init) => one.feed(path, init)));
    for (const [index, name] of names.entries()) {
      expect(answers[index]?.status).toBe(name === "bad" ? 401 : 200);
      if (name === "bad") continue;
      const [first, , third] = answers[index]?.json.video_list ?? [];
      expect([first?.["is_favorite"], third?.["is_favorite"]]).toEqual([false, name.endsWith("7")]);
    }
    expect((await slow).json.video_list[0]).toMatchObject({ is_favorite: false });
    expect(
      views
        .slice(1)
        .flatMap((call) => call.tokens)
        .toSorted(),
    ).toEqual(names.toSorted());
    expect(views.length).toBeLessThan(names.length / 2);
    expect(Math.max(...views.map((call) => call.tokens.length))).toBeLessThanOrEqual(32);
  });

  test("gets everybody's page while the origin is away", async () => {
    const path = newPage();
    const { text } = await one.feed(path);
    origin.answer({ getFeedViews: () => Promise.reject(flickError(Reason.UNAVAILABLE, "away")) });
    expect(await one.feed(`${path}&token=${await tokenOf("mine")}`)).toMatchObject({ status: 200, text });
  });

  test("is told of a fault when the origin's answer does not fit the page", async () => {
    const path = newPage();
    await one.feed(path);
    origin.answer({ getFeedViews: () => ({ favoriteCounts: [1n] }) });
    expect((await one.feed(`${path}&token=${await tokenOf("mine")}`)).status).toBe(500);
  });
});

const tokens = new Map<string, string>();
const nameOf = new Map<string, string>();

/** The good token of somebody of that name. */
async function tokenOf(name: string): Promise<string> {
  const token = tokens.get(name) ?? (await authority.issue({ userId: 1000 + tokens.size }));
  tokens.set(name, token);
  nameOf.set(token, name);
  return token;
}

const as = async (name: string) => ({ headers: { authorization: `Bearer ${await tokenOf(name)}` } });

/** Empties Redis of pages, leases and generations. */
async function forget(): Promise<void> {
  const keys = (await redis.send("KEYS", ["edge::feed::*"])) as string[];
  if (keys.length > 0) await redis.send("DEL", keys);
}

/** Waits until Redis has the page, and gives its key. */
async function pageIsShared(path: string): Promise<string> {
  const time = /latest_time=(\d+)/.exec(path)?.[1];
  const name = time ? `"key":"${time}:30"` : `"key":"head:30"`;
  for (const deadline = Date.now() + 5_000; Date.now() < deadline; await Bun.sleep(5)) {
    const keys = (await redis.send("KEYS", ["edge::feed::page::*"])) as string[];
    const pages = keys.length > 0 ? ((await redis.send("MGET", keys)) as (string | null)[]) : [];
    const at = pages.findIndex((text) => text?.includes(name));
    const key = keys[at];
    if (key !== undefined) return key;
  }
  throw new Error(`Redis has no page ${name}`);
}

async function eventually(condition: () => Promise<boolean>, withinMs = 5_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`it did not come about within ${withinMs} ms`);
    await Bun.sleep(20);
  }
}
