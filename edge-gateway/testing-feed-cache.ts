import { afterAll, beforeAll, beforeEach } from "bun:test";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { startGateway } from "@flick/dev/gateway.ts";
import { VideoStatus, type GetFeedResponseSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { RedisClient } from "bun";

import { startEdgeRedis, startFixtureOrigin, type EdgeRedis, type FixtureOrigin } from "./testing.ts";

/** Starts a Redis and an origin for the tests of one file; the fields of the result are there while a test runs. */
export function setUpFeedCacheTests(): FeedCacheTest {
  const locations: Location[] = [];
  const t = { startLocation, answerPages, forget, pageIsShared } as FeedCacheTest;

  beforeAll(async () => {
    t.edge = await startEdgeRedis();
    t.lasting = await t.edge.vars({ feed: { freshMs: 60_000, staleMs: 60_000 } });
    t.redis = new RedisClient(t.edge.server.url);
    t.origin = startFixtureOrigin();
  });
  afterAll(async () => {
    t.redis.close();
    await Promise.all(locations.map(({ stop }) => stop()));
    await t.origin.stop();
    await t.edge.stop();
  });
  beforeEach(() => answerPages(() => page));
  return t;

  async function startLocation(vars: Record<string, string>): Promise<Location> {
    const log: Record<string, unknown>[] = [];
    const gateway = await startGateway({
      vars: { ORIGIN_URL: t.origin.url, IP_LIMIT_FACTOR: "100000", ...vars },
      log: (line) => log.push(JSON.parse(line)),
    });
    const location: Location = {
      log,
      async feed(path, init) {
        const response = await fetch(`${gateway.url}/douyin/feed/${path}`, init);
        const text = await response.text();
        const json = (text === "" ? null : JSON.parse(text)) as FeedAnswer["json"];
        return { status: response.status, from: response.headers.get("x-cache"), text, json };
      },
      stop: gateway.stop,
    };
    locations.push(location);
    return location;
  }

  function answerPages(answer: () => Page | Promise<Page>, others: Answers = {}): void {
    t.calls = [];
    t.origin.answer({
      getFeed({ beforeMs, count }, { requestHeader }) {
        t.calls.push({ beforeMs: Number(beforeMs), count, authorization: requestHeader.get("authorization") });
        return answer();
      },
      ...others,
    });
  }

  async function forget(): Promise<void> {
    const keys = (await t.redis.send("KEYS", ["edge::feed::*"])) as string[];
    if (keys.length > 0) await t.redis.send("DEL", keys);
  }

  async function pageIsShared(path: string): Promise<string> {
    const name = `"key":"${timeOf(path) || "head"}:30"`;
    for (const deadline = Date.now() + 5_000; Date.now() < deadline; await Bun.sleep(5)) {
      const keys = (await t.redis.send("KEYS", ["edge::feed::page::*"])) as string[];
      const pages = keys.length > 0 ? ((await t.redis.send("MGET", keys)) as (string | null)[]) : [];
      const at = pages.findIndex((text) => text?.includes(name));
      const key = keys[at];
      if (key !== undefined) return key;
    }
    throw new Error(`Redis has no page ${name}`);
  }
}

/** The same, with two locations that share Redis, where pages stay fresh for as long as the tests last. */
export function setUpTwoLocations(): FeedCacheTest & { one: Location; other: Location } {
  const t = setUpFeedCacheTests() as ReturnType<typeof setUpTwoLocations>;
  beforeAll(async () => {
    [t.one, t.other] = await Promise.all([t.startLocation(t.lasting), t.startLocation(t.lasting)]);
  });
  return t;
}

let times = 1_600_000_000_000;

/** A page that no other test asks for. */
export const newPage = () => `?latest_time=${(times += 1000)}`;

/** The time in the path of a page, in milliseconds since 1970; 0 for the head. */
export const timeOf = (path: string) => Number(/latest_time=(\d+)/.exec(path)?.[1] ?? 0);

export const video = (id: number, title = "a 🎬 title", authorId = 7) => ({
  id: BigInt(id),
  author: { id: BigInt(authorId), name: "zoë", followerCount: 5n },
  playUrl: "http://oss/v.mp4",
  favoriteCount: 1n,
  commentCount: 2n,
  title,
  status: VideoStatus.READY,
});

/** What the origin answers where a test says nothing else. */
export const page = {
  videos: [video(1), video(2)],
  nextBeforeMs: 1_500_000_000_000n,
  hasMore: true,
  newestMs: BigInt(Date.now() - 3_600_000),
};

/** What a test of the feed's cache works with: a Redis of the file's own, and an origin behind as many locations as it starts. */
export interface FeedCacheTest {
  edge: EdgeRedis;
  /** The database of the locations that are bound to `lasting`. */
  redis: RedisClient;
  origin: FixtureOrigin;
  /** Binds locations that share Redis, where pages stay fresh for as long as the tests last. */
  lasting: Record<string, string>;
  /** Calls for pages since `answerPages`, by what they asked for. */
  calls: { beforeMs: number; count: number; authorization: string | null }[];
  /** A gateway that ends with the file. */
  startLocation(vars: Record<string, string>): Promise<Location>;
  /** Has the origin answer so, and nothing else but `others`. */
  answerPages(answer: () => Page | Promise<Page>, others?: Answers): void;
  /** Empties Redis of pages, leases and generations. */
  forget(): Promise<void>;
  /** Waits until Redis has the page, and gives its key. */
  pageIsShared(path: string): Promise<string>;
}

export interface Location {
  log: Record<string, unknown>[];
  /** @param path what comes behind `/douyin/feed/`. */
  feed(path: string, init?: RequestInit): Promise<FeedAnswer>;
  stop(): Promise<void>;
}

export interface FeedAnswer {
  status: number;
  /** `x-cache`. */
  from: string | null;
  text: string;
  json: { status_code: number; status_msg: string; video_list: Record<string, unknown>[]; next_time: number };
}

type Page = MessageInitShape<typeof GetFeedResponseSchema>;
type Answers = Parameters<FixtureOrigin["answer"]>[0];
