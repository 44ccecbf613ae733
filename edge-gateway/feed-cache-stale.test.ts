import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { newPage, page, setUpFeedCacheTests, video, type Location } from "./testing-feed-cache.ts";
import { until } from "./testing.ts";

setDefaultTimeout(60_000);

const t = setUpFeedCacheTests();
/** A location where pages do not stay fresh for long, and what such are bound to. */
let short: Location;
let brief: Record<string, string>;
beforeAll(async () => {
  brief = await t.edge.vars({ feed: { freshMs: 100, staleMs: 100 } });
  short = await t.startLocation(brief);
});

/** Longer than one of their pages may be served. */
const outlive = () => Bun.sleep(110);

describe("a page", () => {
  test("is served while one request refreshes it", async () => {
    const stale = await t.startLocation(await t.edge.vars({ feed: { freshMs: 50, staleMs: 60_000 } }));
    const path = newPage();
    await stale.feed(path);
    const release = Promise.withResolvers<void>();
    t.answerPages(async () => {
      await release.promise;
      return { ...page, videos: [video(9)] };
    });
    await Bun.sleep(60);
    const during = await Promise.all(Array.from({ length: 50 }, () => stale.feed(path)));
    expect(new Set(during.map(({ from }) => from))).toEqual(new Set(["memory, stale"]));
    expect(during[0]?.json.video_list).toHaveLength(2);
    await until(() => t.calls.length > 0);
    release.resolve();
    await until(async () => (await stale.feed(path)).json.video_list.length === 1);
  });

  test("that is too old is waited for", async () => {
    const path = newPage();
    await short.feed(path);
    t.answerPages(() => ({ ...page, videos: [video(9)] }));
    await outlive();
    expect(await short.feed(path)).toMatchObject({ from: "origin", json: { video_list: [{ id: 9 }] } });
  });
});

describe("when", () => {
  test("the origin is away, pages that are known are served and others are not", async () => {
    const path = newPage();
    await short.feed(path);
    t.answerPages(() => Promise.reject(flickError(Reason.UNAVAILABLE, "away")));
    await outlive();
    for (let round = 0; round < 3; round++) {
      const { status, from, json } = await short.feed(path);
      expect([status, from, json.video_list.length]).toEqual([200, "memory, stale", 2]);
    }
    // At a location that has never seen it, too.
    const far = await t.startLocation(brief);
    expect((await far.feed(path)).from).toBe("memory, stale");
    const cold = await short.feed(newPage());
    expect(cold.status).toBe(503);
    expect(cold.json).toMatchObject({ status_code: Reason.UNAVAILABLE, video_list: [], next_time: 0 });
    t.answerPages(() => ({ ...page, videos: [video(9)] }));
    await until(async () => (await short.feed(path)).json.video_list.length === 1);
  });

  test("the origin is away for longer than a page is kept for, it is not served", async () => {
    // What comes of a call may take 6 s, so that much is always allowed.
    const strict = await t.startLocation(await t.edge.vars({ feed: { freshMs: 20, staleMs: 40, errorMs: 0 } }));
    const path = newPage();
    await strict.feed(path);
    t.answerPages(() => Promise.reject(flickError(Reason.UNAVAILABLE, "away")));
    expect((await strict.feed(path)).status).toBe(200);
    await until(async () => (await strict.feed(path)).status === 503, 10_000);
  });

  test("the origin hangs, a page that is known is served all the same", async () => {
    const path = newPage();
    await short.feed(path);
    const release = Promise.withResolvers<void>();
    t.answerPages(async () => {
      await release.promise;
      return page;
    });
    await outlive();
    expect(await short.feed(path)).toMatchObject({ status: 200, from: "memory, stale" });
    release.resolve();
  });

  test("Redis goes away and comes back, pages come from the origin and then from Redis", async () => {
    const [here, there] = await Promise.all([t.startLocation(brief), t.startLocation(brief)]);
    const path = newPage();
    await here.feed(path);
    await t.edge.server.stop();
    await outlive();
    expect((await here.feed(path)).from).toBe("origin");
    // It stays fresh for less time than a busy machine may take to ask twice.
    await until(async () => (await here.feed(path)).from === "memory");
    expect((await there.feed(newPage())).from).toBe("origin");
    await t.edge.server.start();
    // Redis is tried again after its rest.
    await until(async () => {
      const again = newPage();
      await here.feed(again);
      return (await there.feed(again)).from === "shared";
    }, 15_000);
  });
});
