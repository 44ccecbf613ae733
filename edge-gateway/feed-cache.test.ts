import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { newPage, page, setUpTwoLocations, timeOf } from "./testing-feed-cache.ts";
import { until, viewerToken } from "./testing.ts";

setDefaultTimeout(60_000);

const t = setUpTwoLocations();

describe("a page", () => {
  test("comes from the origin once, then from memory, and at another location from Redis", async () => {
    const path = newPage();
    const answers = [await t.one.feed(path), await t.one.feed(path)];
    await until(() => t.calls.length === 1);
    await t.pageIsShared(path);
    answers.push(await t.other.feed(path), await t.other.feed(path));
    expect(answers.map(({ from }) => from)).toEqual(["origin", "memory", "shared", "memory"]);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(t.calls).toEqual([{ beforeMs: timeOf(path), count: 30, authorization: null }]);
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
    const small = await t.startLocation(await t.edge.vars({ feed }));
    const [path, another] = [newPage(), newPage()];
    expect((await small.feed(path)).from).toBe("origin");
    expect((await small.feed(another)).from).toBe("origin");
    expect((await small.feed(path)).from).toBe("edge");
    expect(t.calls).toHaveLength(2);
  });

  test("is asked of the origin at most twice by 1 000 requests at once at two locations", async () => {
    t.answerPages(slowly);
    const path = newPage();
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_, index) => (index % 2 === 0 ? t.one : t.other).feed(path)),
    );
    expect(answers.filter(({ json }) => json.video_list.length === 2)).toHaveLength(1000);
    expect(t.calls.length).toBeLessThanOrEqual(2);
  });

  test("is asked of the origin by one location, and the others wait for it", async () => {
    // On a busy machine a thousand requests at once can be too much for Redis, which is then left alone for a while.
    await until(async () => {
      const path = newPage();
      await t.one.feed(path);
      return (await t.other.feed(path)).from === "shared";
    }, 10_000);
    t.answerPages(slowly);
    const path = newPage();
    const answers = await Promise.all([t.one.feed(path), t.other.feed(path)]);
    expect(new Set(answers.map(({ from }) => from))).toEqual(new Set(["origin", "shared"]));
    expect(t.calls).toHaveLength(1);
  });

  test("is asked of the origin hardly more often by 1 000 requests at once without Redis", async () => {
    const lone = await t.startLocation({});
    t.answerPages(slowly);
    const path = newPage();
    const began = Date.now();
    const answers = await Promise.all(Array.from({ length: 1000 }, () => lone.feed(path)));
    expect(answers.filter(({ json }) => json.video_list.length === 2)).toHaveLength(1000);
    // Without Redis the gateway goes by the defaults, by which a page is fresh for a second.
    expect(t.calls.length).toBeLessThanOrEqual(2 + (Date.now() - began) / 1000);
  });

  test("is one page whatever it is called, and nobody's", async () => {
    await t.forget();
    const head = await t.startLocation(t.lasting);
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
    t.answerPages(() => page, {
      getFeedViews: ({ videoIds, authorIds }) => ({
        favoriteCounts: videoIds,
        commentCounts: videoIds,
        views: [{ isFavorite: videoIds.map(() => true), isFollow: authorIds.map(() => true) }],
      }),
    });
    for (const name of names) await head.feed(name, somebody);
    for (const name of names) expect((await head.feed(name)).json.video_list[0]).toMatchObject({ is_favorite: false });
    expect(t.calls).toEqual([{ beforeMs: 0, count: 30, authorization: null }]);
    await head.feed("?count=1");
    expect(t.calls.at(-1)).toEqual({ beforeMs: 0, count: 1, authorization: null });
  });

  test("before a moment that is almost now is the head only while nothing is newer", async () => {
    await t.forget();
    const fresh = await t.startLocation(t.lasting);
    const newestMs = Date.now() - 2_000;
    t.answerPages(() => ({ ...page, newestMs: BigInt(newestMs) }));
    await fresh.feed(`?latest_time=${newestMs + 1}`);
    await fresh.feed(`?latest_time=${newestMs}`);
    await fresh.feed(`?latest_time=${newestMs - 1}`);
    expect(t.calls.map(({ beforeMs }) => beforeMs)).toEqual([0, newestMs, newestMs - 1]);
  });

  test("is answered to HEAD without its body", async () => {
    const { status, from, text } = await t.one.feed(newPage(), { method: "HEAD" });
    expect({ status, from, text }).toEqual({ status: 200, from: "origin", text: "" });
  });

  test("says in the log where it came from", async () => {
    const path = newPage();
    await t.one.feed(path);
    await t.one.feed(path);
    await until(() => t.one.log.filter(({ route }) => route === "/douyin/feed").length >= 2);
    expect(t.one.log.filter(({ message }) => message === "request").slice(-2)).toMatchObject([
      { cache: "origin" },
      { cache: "memory" },
    ]);
  });
});

async function slowly() {
  await Bun.sleep(100);
  return page;
}

const somebody = { headers: { authorization: `Bearer ${viewerToken}` } };
