import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { feedGenerations } from "@flick/proto/feed-cache.ts";

import { newPage, page, setUpTwoLocations, type FeedAnswer } from "./testing-feed-cache.ts";
import { until } from "./testing.ts";

setDefaultTimeout(60_000);

const t = setUpTwoLocations();

describe("when", () => {
  test.each([
    ["head", ""],
    ["all", "?latest_time=1600000000500"],
  ] as const)("the generation of %s changes, a page of the old one is not taken from Redis", async (name, path) => {
    await t.forget();
    const [first, second] = await Promise.all([t.startLocation(t.lasting), t.startLocation(t.lasting)]);
    expect((await first.feed(path)).from).toBe("origin");
    await t.pageIsShared(path);
    await t.redis.set(feedGenerations[name], crypto.randomUUID());
    expect((await second.feed(path)).from).toBe("origin");
    // The first one hears of it when it next reads Redis, and then of all its pages at once.
    expect((await first.feed(path)).from).toBe("memory");
    await first.feed(newPage());
    expect((await first.feed(path)).from).toBe("shared");
  });

  test("the generation changes while the origin answers, its answer is not taken from Redis", async () => {
    const path = newPage();
    t.answerPages(async () => {
      await t.redis.set(feedGenerations.all, crypto.randomUUID());
      return page;
    });
    await t.one.feed(path);
    await t.pageIsShared(path);
    t.answerPages(() => page);
    expect((await t.other.feed(path)).from).toBe("origin");
  });

  const poison: [what: string, change: (head: Record<string, unknown>, answer: FeedAnswer["json"]) => void][] = [
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
    const { text } = await t.one.feed(path);
    const key = await t.pageIsShared(path);
    const stored = (await t.redis.get(key)) ?? "";
    const [head, answer] = stored.split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
    change(head ?? {}, answer as unknown as FeedAnswer["json"]);
    const poisoned = [head, answer].map((part) => JSON.stringify(part)).join("\n");
    expect(poisoned).not.toBe(stored);
    await t.redis.set(key, poisoned);
    await until(() => t.calls.length === 1);
    expect(await t.other.feed(path)).toMatchObject({ from: "origin", text });
  });

  test("Redis has rubbish in place of a page, it is refused", async () => {
    for (const rubbish of ["", "\n", "null\nnull", "{", "[]\n[]", '{"version":1}', "\u0000".repeat(100)]) {
      const path = newPage();
      await t.one.feed(path);
      await t.redis.set(await t.pageIsShared(path), rubbish);
      expect((await t.other.feed(path)).from).toBe("origin");
    }
  });

  test("clients ask for thousands of pages, Redis keeps a bounded number of them", async () => {
    for (let round = 0; round < 12; round++)
      await Promise.all(Array.from({ length: 50 }, () => t.one.feed(`${newPage()}&count=1`)));
    const keys = (await t.redis.send("KEYS", ["edge::feed::page::*"])) as string[];
    expect(keys.filter((key) => !key.includes("head")).length).toBeLessThanOrEqual(512);
    expect(keys.length).toBeGreaterThan(50);
    expect(await t.redis.pttl(keys[0] ?? "")).toBeGreaterThan(0);
  });
});
