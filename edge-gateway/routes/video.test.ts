import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { VideoStatus } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { startEdgeRedis, startFixture, viewerToken, type EdgeRedis, type Fixture } from "../testing.ts";

let redis: EdgeRedis;
let fixture: Fixture;
beforeAll(async () => {
  redis = await startEdgeRedis();
  // How the feed is cached has tests of its own.
  fixture = await startFixture(await redis.vars({ feed: { cached: false } }));
});
afterAll(async () => {
  await fixture.stop();
  await redis.stop();
});

const video = {
  id: 9007199254740991n,
  author: { id: 7n, name: "zoë" },
  playUrl: "http://oss/v.mp4",
  coverUrl: "http://oss/v.jpg",
  favoriteCount: 1n,
  commentCount: 2n,
  isFavorite: true,
  title: "a 🎬 title",
  createTime: 1_790_000_000_123n,
  status: VideoStatus.READY,
  width: 720,
  height: 1280,
  durationMs: 10_500n,
  renditions: [{ url: "http://oss/540.mp4", width: 540, height: 960, bitrate: 900_000, bytes: 5_000_000_000n }],
  hlsUrl: "http://oss/hls.m3u8",
  covers: [{ url: "http://oss/cover.webp", width: 540, height: 960, type: "image/webp" }],
  previewUrl: "http://oss/preview.webp",
  thumbhash: "3OcRJYB4d3h/iIeHeEh3eIhw+j3A",
};

const videoJson = {
  id: 9007199254740991,
  author: expect.objectContaining({ id: 7, name: "zoë", is_follow: false, signature: "" }) as unknown,
  play_url: "http://oss/v.mp4",
  cover_url: "http://oss/v.jpg",
  favorite_count: 1,
  comment_count: 2,
  is_favorite: true,
  title: "a 🎬 title",
  create_time: 1_790_000_000_123,
  status: "ready",
  status_reason: "",
  width: 720,
  height: 1280,
  duration_ms: 10_500,
  renditions: [{ url: "http://oss/540.mp4", width: 540, height: 960, bitrate: 900_000, bytes: 5_000_000_000 }],
  hls_url: "http://oss/hls.m3u8",
  covers: [{ url: "http://oss/cover.webp", width: 540, height: 960, type: "image/webp" }],
  preview_url: "http://oss/preview.webp",
  thumbhash: "3OcRJYB4d3h/iIeHeEh3eIhw+j3A",
};

function answerFeed(): { beforeMs: bigint; count: number; authorization: string | null }[] {
  const asked: { beforeMs: bigint; count: number; authorization: string | null }[] = [];
  fixture.origin.answer({
    getFeed({ beforeMs, count }, { requestHeader }) {
      asked.push({ beforeMs, count, authorization: requestHeader.get("authorization") });
      return { videos: [video], nextBeforeMs: 1_790_000_000_123n, hasMore: true };
    },
  });
  return asked;
}

describe("/feed", () => {
  test("answers the Video objects and where the next page begins", async () => {
    answerFeed();
    for (const path of ["/feed", "/feed/"]) {
      const { status, json } = await fixture.call(path);
      expect(status).toBe(200);
      expect(json).toEqual({
        status_code: 0,
        status_msg: "success",
        video_list: [videoJson],
        next_time: 1_790_000_000_123,
        next_cursor: 1_790_000_000_123,
        has_more: true,
      });
    }
  });

  test("works without a token and passes one on", async () => {
    const asked = answerFeed();
    await fixture.call("/feed");
    await fixture.call("/feed?token=");
    await fixture.call(`/feed?token=${viewerToken}`);
    await fixture.call("/feed", { headers: { authorization: `Bearer ${viewerToken}` } });
    const mine = `Bearer ${viewerToken}`;
    expect(asked.map(({ authorization }) => authorization)).toEqual([null, null, mine, mine]);
  });

  test("passes on that the origin refuses a token that seemed good", async () => {
    fixture.origin.answer({
      getFeed: () => Promise.reject(flickError(Reason.UNAUTHENTICATED, "the token is not valid")),
    });
    const { status, headers, json } = await fixture.call(`/feed?token=${viewerToken}`);
    expect(status).toBe(401);
    expect(headers.get("www-authenticate")).toBe("Bearer");
    expect(json).toEqual({
      status_code: 10002,
      status_msg: "the token is not valid",
      video_list: [],
      next_time: 0,
      next_cursor: 0,
      has_more: false,
    });
  });

  const tomorrow = Date.now() + 86_400_000;
  test.each<[string, bigint]>([
    ["", 0n],
    ["latest_time=", 0n],
    ["latest_time=0", 0n],
    ["latest_time=-5", 0n],
    [`latest_time=${tomorrow}`, 0n],
    [`latest_time=${Math.floor(tomorrow / 1000)}`, 0n],
    ["latest_time=99999999999999999999999", 0n],
    ["latest_time=1700000000", 1_700_000_000_000n],
    ["latest_time=1700000000123", 1_700_000_000_123n],
    ["latest_time=1.7e%2B09", 1_700_000_000_000n],
    ["latest_time=1.700000000123e+12", 1_700_000_000_123n],
    ["cursor=1700000000123", 1_700_000_000_123n],
    ["cursor=0&latest_time=1700000000", 1_700_000_000_000n],
  ])("asks for what is before %p", async (query, beforeMs) => {
    const asked = answerFeed();
    expect((await fixture.call(`/feed/?${query}`)).json["status_code"]).toBe(0);
    expect(asked).toEqual([{ beforeMs, count: 0, authorization: null }]);
  });

  test.each<[string, number]>([
    ["count=1", 1],
    ["count=30", 30],
    ["count=31", 30],
    ["count=9007199254740991", 30],
    ["count=0", 0],
  ])("caps %s", async (query, count) => {
    const asked = answerFeed();
    await fixture.call(`/feed?${query}`);
    expect(asked[0]?.count).toBe(count);
  });

  test.each([
    "latest_time=abc",
    "latest_time=%F0%9F%8E%AC",
    "latest_time=1e",
    "count=x",
    "count=-1",
    "cursor=1.5",
    "latest_time=%00",
  ])("refuses %s by name and with its empty fields", async (query) => {
    const asked = answerFeed();
    const { status, json } = await fixture.call(`/feed/?${query}`);
    expect(status).toBe(200);
    expect(json).toEqual({
      status_code: 10001,
      status_msg: expect.stringContaining(query.split("=")[0] ?? ""),
      video_list: [],
      next_time: 0,
      next_cursor: 0,
      has_more: false,
    });
    expect(asked).toEqual([]);
  });

  test("answers an empty feed with an empty list", async () => {
    fixture.origin.answer({ getFeed: () => ({}) });
    const { json } = await fixture.call("/feed");
    expect(json).toEqual({
      status_code: 0,
      status_msg: "success",
      video_list: [],
      next_time: 0,
      next_cursor: 0,
      has_more: false,
    });
  });

  test("answers whatever rubbish it is asked with an envelope", async () => {
    answerFeed();
    const names = ["latest_time", "count", "cursor", "token", "%", "__proto__", "constructor", ""];
    const values = [
      "",
      "%",
      "%ff",
      "%00",
      "%0d%0aset-cookie:x",
      "'\"<>",
      "1".repeat(3000),
      "-",
      "+",
      "e",
      ".",
      "1e+",
      "🎬",
      "[]",
      "0;0",
    ];
    for (const name of names) {
      for (const value of values) {
        const { status, headers, json } = await fixture.call(`/feed/?${name}=${value}`);
        expect([200, 401]).toContain(status);
        expect(headers.get("content-type")).toStartWith("application/json");
        expect(json).toMatchObject({
          status_code: expect.any(Number),
          status_msg: expect.any(String),
          video_list: expect.any(Array),
        });
      }
    }
  });
});

function answerList() {
  const asked: { userId: bigint; cursor: bigint; count: number; authorization: string | null }[] = [];
  fixture.origin.answer({
    listPublished({ userId, cursor, count }, { requestHeader }) {
      asked.push({ userId, cursor, count, authorization: requestHeader.get("authorization") });
      return {
        videos: [
          { ...video, status: VideoStatus.FAILED, statusReason: "not a video" },
          { id: 1n, status: VideoStatus.PROCESSING },
          { id: 2n, status: VideoStatus.UPLOADED },
        ],
        nextCursor: 2n,
        hasMore: true,
      };
    },
  });
  return asked;
}

describe("/publish/list", () => {
  test("answers videos in every state, newest first as the origin gave them", async () => {
    const asked = answerList();
    for (const path of ["/publish/list", "/publish/list/"]) {
      const { json } = await fixture.call(`${path}?user_id=1.2e%2B01&cursor=34&count=500&token=${viewerToken}`);
      expect(json).toEqual({
        status_code: 0,
        status_msg: "success",
        video_list: [
          { ...videoJson, status: "failed", status_reason: "not a video" },
          expect.objectContaining({
            id: 1,
            status: "processing",
            author: expect.objectContaining({ id: 0, name: "" }),
          }),
          expect.objectContaining({ id: 2, status: "uploaded" }),
        ],
        next_cursor: 2,
        has_more: true,
      });
    }
    expect(asked).toEqual([
      { userId: 12n, cursor: 34n, count: 100, authorization: `Bearer ${viewerToken}` },
      { userId: 12n, cursor: 34n, count: 100, authorization: `Bearer ${viewerToken}` },
    ]);
  });

  test("asks for the caller's own without a user id", async () => {
    const asked = answerList();
    await fixture.call(`/publish/list/?token=${viewerToken}`);
    expect(asked).toEqual([{ userId: 0n, cursor: 0n, count: 0, authorization: `Bearer ${viewerToken}` }]);
  });

  test.each(["user_id", "cursor", "count"])("refuses a bad %s by name", async (name) => {
    answerList();
    const { status, json } = await fixture.call(`/publish/list/?${name}=x&token=${viewerToken}`);
    expect(status).toBe(200);
    expect(json).toEqual({
      status_code: 10001,
      status_msg: expect.stringContaining(name),
      video_list: [],
      next_cursor: 0,
      has_more: false,
    });
  });
});

function answerDelete() {
  const asked: { videoId: bigint; authorization: string | null }[] = [];
  fixture.origin.answer({
    deleteVideo({ videoId }, { requestHeader }) {
      asked.push({ videoId, authorization: requestHeader.get("authorization") });
      return {};
    },
  });
  return asked;
}

describe("/publish/delete", () => {
  test("deletes the video that is named", async () => {
    const asked = answerDelete();
    for (const path of ["/publish/delete", "/publish/delete/"]) {
      const body = new URLSearchParams({ token: viewerToken, video_id: "12" });
      const { status, json } = await fixture.call(path, { method: "POST", body });
      expect(status).toBe(200);
      expect(json).toEqual({ status_code: 0, status_msg: "success" });
    }
    const each = { videoId: 12n, authorization: `Bearer ${viewerToken}` };
    expect(asked).toEqual([each, each]);
  });

  test.each(["", "video_id=0", "video_id=-1", "video_id=x", "video_id=9007199254740992"])(
    "refuses %p by name",
    async (query) => {
      const asked = answerDelete();
      const { status, json } = await fixture.call(`/publish/delete/?token=${viewerToken}&${query}`, { method: "POST" });
      expect(status).toBe(200);
      expect(json).toEqual({ status_code: 10001, status_msg: expect.stringContaining("video_id") });
      expect(asked).toEqual([]);
    },
  );
});
