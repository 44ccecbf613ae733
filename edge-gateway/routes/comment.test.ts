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

/** Half an hour before midnight in UTC: already the 2nd in most of Asia and Europe. */
const newYear = Date.UTC(2026, 0, 1, 23, 30);
const comment = { id: 99n, user: { id: 7n, name: "zoë" }, content: "nice 🎬", createTime: BigInt(newYear) };
const commentJson = {
  id: 99,
  user: expect.objectContaining({ id: 7, name: "zoë", is_follow: false }) as unknown,
  content: "nice 🎬",
  create_date: "01-01",
  create_time: newYear,
};
const emptyComment = {
  id: 0,
  user: expect.objectContaining({ id: 0, name: "" }) as unknown,
  content: "",
  create_date: "",
  create_time: 0,
};

function answerActions(): unknown[] {
  const asked: unknown[] = [];
  fixture.origin.answer({
    createComment({ videoId, content }, { requestHeader }) {
      asked.push({ videoId, content, authorization: requestHeader.get("authorization") });
      return { comment };
    },
    deleteComment({ videoId, commentId }, { requestHeader }) {
      asked.push({ videoId, commentId, authorization: requestHeader.get("authorization") });
      return {};
    },
  });
  return asked;
}

describe("/comment/action", () => {
  test("posts, and answers the comment with its date in UTC", async () => {
    const asked = answerActions();
    const body = new URLSearchParams({
      token: viewerToken,
      video_id: "3",
      action_type: "1",
      comment_text: " nice 🎬 ",
    });
    const { status, json } = await fixture.call("/comment/action", { method: "POST", body });
    expect(status).toBe(200);
    expect(json).toEqual({ status_code: 0, status_msg: "success", comment: commentJson });
    expect(asked).toEqual([{ videoId: 3n, content: " nice 🎬 ", authorization: `Bearer ${viewerToken}` }]);
  });

  test("deletes, and answers an empty comment", async () => {
    const asked = answerActions();
    const { json } = await fixture.call(
      `/comment/action/?token=${viewerToken}&video_id=3&action_type=2&comment_id=9.9e%2B01&comment_text=ignored`,
      { method: "POST" },
    );
    expect(json).toEqual({ status_code: 0, status_msg: "success", comment: emptyComment });
    expect(asked).toEqual([{ videoId: 3n, commentId: 99n, authorization: `Bearer ${viewerToken}` }]);
  });

  test.each([
    ["video_id", "action_type=1&comment_text=a"],
    ["video_id", "action_type=1&comment_text=a&video_id=0"],
    ["action_type", "video_id=1&comment_text=a"],
    ["action_type", "video_id=1&comment_text=a&action_type=3"],
    ["comment_text", "video_id=1&action_type=1"],
    ["comment_text", "video_id=1&action_type=1&comment_text="],
    ["comment_id", "video_id=1&action_type=2"],
    ["comment_id", "video_id=1&action_type=2&comment_id=0"],
    ["comment_id", "video_id=1&action_type=2&comment_id=-5"],
    ["comment_id", "video_id=1&action_type=2&comment_id=9223372036854775808"],
  ])("names a bad %s: %s", async (name, query) => {
    const asked = answerActions();
    const { status, json } = await fixture.call(`/comment/action/?token=${viewerToken}&${query}`, { method: "POST" });
    expect(status).toBe(200);
    expect(json).toEqual({
      status_code: Reason.INVALID_PARAMETER,
      status_msg: expect.stringContaining(name),
      comment: emptyComment,
    });
    expect(asked).toEqual([]);
  });

  test("tells why the service refuses, with an empty comment", async () => {
    fixture.origin.answer({
      deleteComment: () => Promise.reject(flickError(Reason.COMMENT_NOT_YOURS, "comment_id: not yours")),
    });
    const path = `/comment/action/?token=${viewerToken}&video_id=3&action_type=2&comment_id=5`;
    const { status, json } = await fixture.call(path, { method: "POST" });
    expect(status).toBe(200);
    expect(json).toEqual({ status_code: 40002, status_msg: "comment_id: not yours", comment: emptyComment });
  });
});

function answerList() {
  const asked: { videoId: bigint; cursor: bigint; count: number; authorization: string | null }[] = [];
  fixture.origin.answer({
    listComments({ videoId, cursor, count }, { requestHeader }) {
      asked.push({ videoId, cursor, count, authorization: requestHeader.get("authorization") });
      return { comments: [comment], nextCursor: 99n, hasMore: true };
    },
  });
  return asked;
}

describe("/comment/list", () => {
  test("answers the Comment objects, with and without a token", async () => {
    const asked = answerList();
    for (const path of [
      "/comment/list?video_id=3",
      `/comment/list/?video_id=3&token=${viewerToken}&cursor=100&count=101`,
    ]) {
      const { json } = await fixture.call(path);
      expect(json).toEqual({
        status_code: 0,
        status_msg: "success",
        comment_list: [commentJson],
        next_cursor: 99,
        has_more: true,
      });
    }
    expect(asked).toEqual([
      { videoId: 3n, cursor: 0n, count: 0, authorization: null },
      { videoId: 3n, cursor: 100n, count: 100, authorization: `Bearer ${viewerToken}` },
    ]);
  });

  test("answers a video without comments with an empty list", async () => {
    fixture.origin.answer({ listComments: () => ({}) });
    const { json } = await fixture.call("/comment/list/?video_id=3");
    expect(json).toMatchObject({ status_code: 0, comment_list: [], next_cursor: 0, has_more: false });
  });

  test.each(["", "video_id=0", "video_id=-1", "video_id=x", "video_id=9007199254740992"])(
    "refuses %p by name, with its empty fields",
    async (query) => {
      const asked = answerList();
      const { json } = await fixture.call(`/comment/list/?${query}`);
      expect(json).toEqual({
        status_code: 10001,
        status_msg: expect.stringContaining("video_id"),
        comment_list: [],
        next_cursor: 0,
        has_more: false,
      });
      expect(asked).toEqual([]);
    },
  );
});
