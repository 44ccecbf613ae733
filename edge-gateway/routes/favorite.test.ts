import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { startFixture, type Fixture, viewerToken } from "../testing.ts";

setDefaultTimeout(30_000);

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.stop());

const json = { "content-type": "application/json" };

interface Asked {
  videoId: bigint;
  favorite: boolean;
  authorization: string | null;
}

function answerAction(): Asked[] {
  const asked: Asked[] = [];
  fixture.origin.answer({
    setFavorite({ videoId, favorite }, { requestHeader }) {
      asked.push({ videoId, favorite, authorization: requestHeader.get("authorization") });
      return {};
    },
  });
  return asked;
}

describe("/favorite/action", () => {
  test.each<[string, RequestInit]>([
    [`?token=${viewerToken}&video_id=12&action_type=1`, {}],
    [`/?token=${viewerToken}&video_id=1.2e%2B01&action_type=1.0`, {}],
    [`/?token=${viewerToken}&video_id=1.2e+01&action_type=1e0`, {}],
    ["/", { body: new URLSearchParams({ token: viewerToken, video_id: "12", action_type: "1" }) }],
    ["/", { body: JSON.stringify({ token: viewerToken, video_id: 12, action_type: 1 }), headers: json }],
    [
      "/?video_id=9&action_type=2",
      { body: JSON.stringify({ token: viewerToken, video_id: 12, action_type: 1 }), headers: json },
    ],
    [
      "/?video_id=12",
      { body: new URLSearchParams({ action_type: "1" }), headers: { authorization: `Bearer ${viewerToken}` } },
    ],
  ])("likes what %s asks for", async (path, init) => {
    const asked = answerAction();
    const { status, json: body } = await fixture.call(`/favorite/action${path}`, { method: "POST", ...init });
    expect(status).toBe(200);
    expect(body).toEqual({ status_code: 0, status_msg: "success" });
    expect(asked).toEqual([{ videoId: 12n, favorite: true, authorization: `Bearer ${viewerToken}` }]);
  });

  test("unlikes under 2", async () => {
    const asked = answerAction();
    await fixture.call(`/favorite/action/?token=${viewerToken}&video_id=12&action_type=2`, { method: "POST" });
    expect(asked[0]?.favorite).toBe(false);
  });

  test.each([
    ["video_id", "action_type=1"],
    ["video_id", "action_type=1&video_id="],
    ["video_id", "action_type=1&video_id=0"],
    ["video_id", "action_type=1&video_id=-1"],
    ["video_id", "action_type=1&video_id=1.5"],
    ["video_id", "action_type=1&video_id=9007199254740992"],
    ["video_id", "action_type=1&video_id=9223372036854775808"],
    ["video_id", "action_type=1&video_id=abc"],
    ["action_type", "video_id=1"],
    ["action_type", "video_id=1&action_type=0"],
    ["action_type", "video_id=1&action_type=3"],
    ["action_type", "video_id=1&action_type=-1"],
    ["action_type", "video_id=1&action_type=1.5"],
    ["action_type", "video_id=1&action_type=9223372036854775808"],
    ["action_type", "video_id=1&action_type=like"],
    ["action_type", "video_id=1&action_type=constructor"],
  ])("names a bad %s: %s", async (name, query) => {
    const asked = answerAction();
    const { status, json: body } = await fixture.call(`/favorite/action/?token=${viewerToken}&${query}`, {
      method: "POST",
    });
    expect(status).toBe(200);
    expect(body).toEqual({ status_code: Reason.INVALID_PARAMETER, status_msg: expect.stringContaining(name) });
    expect(asked).toEqual([]);
  });

  test("tells why the service refuses", async () => {
    fixture.origin.answer({
      setFavorite: () => Promise.reject(flickError(Reason.VIDEO_NOT_FOUND, "video_id: there is no such video")),
    });
    const { status, json: body } = await fixture.call(
      `/favorite/action/?token=${viewerToken}&video_id=1&action_type=1`,
      { method: "POST" },
    );
    expect(status).toBe(200);
    expect(body).toEqual({ status_code: 30003, status_msg: "video_id: there is no such video" });
  });

  test("takes a POST only", async () => {
    const { status, headers } = await fixture.call("/favorite/action/?video_id=1&action_type=1");
    expect(status).toBe(405);
    expect(headers.get("allow")).toContain("POST");
  });
});

function answerList() {
  const asked: { userId: bigint; cursor: bigint; count: number; authorization: string | null }[] = [];
  fixture.origin.answer({
    listFavorites({ userId, cursor, count }, { requestHeader }) {
      asked.push({ userId, cursor, count, authorization: requestHeader.get("authorization") });
      return { videos: [{ id: 5n, isFavorite: true, favoriteCount: 2n }, { id: 4n }], nextCursor: 44n, hasMore: true };
    },
  });
  return asked;
}

describe("/favorite/list", () => {
  test("answers the videos in the order of the service", async () => {
    const asked = answerList();
    for (const path of ["/favorite/list", "/favorite/list/"]) {
      const { json: body } = await fixture.call(`${path}?user_id=7&token=${viewerToken}&cursor=55&count=1000`);
      expect(body).toEqual({
        status_code: 0,
        status_msg: "success",
        video_list: [
          expect.objectContaining({ id: 5, is_favorite: true, favorite_count: 2 }),
          expect.objectContaining({ id: 4, is_favorite: false, favorite_count: 0 }),
        ],
        next_cursor: 44,
        has_more: true,
      });
    }
    const each = { userId: 7n, cursor: 55n, count: 100, authorization: `Bearer ${viewerToken}` };
    expect(asked).toEqual([each, each]);
  });

  test.each(["", "&user_id=", "&user_id=0"])("asks for the caller's own with %p", async (query) => {
    const asked = answerList();
    await fixture.call(`/favorite/list/?token=${viewerToken}${query}`);
    expect(asked).toEqual([{ userId: 0n, cursor: 0n, count: 0, authorization: `Bearer ${viewerToken}` }]);
  });

  test.each(["user_id", "cursor", "count"])("refuses a bad %s by name, with its empty fields", async (name) => {
    answerList();
    for (const value of ["-1", "x", "9007199254740992"]) {
      const { json: body } = await fixture.call(`/favorite/list/?${name}=${value}&token=${viewerToken}`);
      expect(body).toEqual({
        status_code: 10001,
        status_msg: expect.stringContaining(name),
        video_list: [],
        next_cursor: 0,
        has_more: false,
      });
    }
  });
});
