import { beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { newPage, page, setUpFeedCacheTests, video, type Location } from "./testing-feed-cache.ts";
import { authority, until } from "./testing.ts";

setDefaultTimeout(60_000);

const t = setUpFeedCacheTests();
let one: Location;
beforeAll(async () => {
  one = await t.startLocation(t.lasting);
});

describe("a viewer", () => {
  const viewed = {
    ...page,
    videos: [video(1, 'one "🎬" false', 7), video(2, "two\u2028", 8), video(3, "three", 7)],
  };
  const views: { videoIds: bigint[]; authorIds: bigint[]; tokens: string[] }[] = [];
  beforeEach(() => {
    views.length = 0;
    t.answerPages(() => viewed, {
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
    expect(t.calls).toHaveLength(1);
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
    t.origin.answer({ getFeedViews: () => Promise.reject(flickError(Reason.UNAVAILABLE, "away")) });
    expect(await one.feed(`${path}&token=${await tokenOf("mine")}`)).toMatchObject({ status: 200, text });
  });

  test("is told of a fault when the origin's answer does not fit the page", async () => {
    const path = newPage();
    await one.feed(path);
    t.origin.answer({ getFeedViews: () => ({ favoriteCounts: [1n] }) });
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
