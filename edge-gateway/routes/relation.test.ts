import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import type { HandlerContext } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { startFixture, type Fixture, viewerToken } from "../testing.ts";

setDefaultTimeout(30_000);

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.stop());

function answerAction(): { userId: bigint; follow: boolean; authorization: string | null }[] {
  const asked: { userId: bigint; follow: boolean; authorization: string | null }[] = [];
  fixture.origin.answer({
    setFollow({ userId, follow }, { requestHeader }) {
      asked.push({ userId, follow, authorization: requestHeader.get("authorization") });
      return {};
    },
  });
  return asked;
}

describe("/relation/action", () => {
  test("follows under 1 and unfollows under 2", async () => {
    const asked = answerAction();
    for (const path of ["/relation/action?action_type=1", "/relation/action/?action_type=2"]) {
      const { status, json } = await fixture.call(`${path}&token=${viewerToken}&to_user_id=1.2e%2B01`, {
        method: "POST",
      });
      expect(status).toBe(200);
      expect(json).toEqual({ status_code: 0, status_msg: "success" });
    }
    expect(asked).toEqual([
      { userId: 12n, follow: true, authorization: `Bearer ${viewerToken}` },
      { userId: 12n, follow: false, authorization: `Bearer ${viewerToken}` },
    ]);
  });

  test.each([
    ["to_user_id", "action_type=1"],
    ["to_user_id", "action_type=1&to_user_id=0"],
    ["to_user_id", "action_type=1&to_user_id=-1"],
    ["to_user_id", "action_type=1&to_user_id=9007199254740992"],
    ["to_user_id", "action_type=1&to_user_id=9223372036854775808"],
    ["action_type", "to_user_id=1"],
    ["action_type", "to_user_id=1&action_type=0"],
    ["action_type", "to_user_id=1&action_type=3"],
  ])("names a bad %s: %s", async (name, query) => {
    const asked = answerAction();
    const { status, json } = await fixture.call(`/relation/action/?token=${viewerToken}&${query}`, { method: "POST" });
    expect(status).toBe(200);
    expect(json).toEqual({ status_code: Reason.INVALID_PARAMETER, status_msg: expect.stringContaining(name) });
    expect(asked).toEqual([]);
  });

  test("tells that nobody follows themselves", async () => {
    fixture.origin.answer({
      setFollow: () => Promise.reject(flickError(Reason.SELF_FOLLOW, "to_user_id: nobody follows themselves")),
    });
    const path = `/relation/action/?token=${viewerToken}&to_user_id=1&action_type=1`;
    const { status, json } = await fixture.call(path, { method: "POST" });
    expect(status).toBe(200);
    expect(json).toEqual({ status_code: 50001, status_msg: "to_user_id: nobody follows themselves" });
  });
});

function answerLists() {
  const asked: { list: string; userId: bigint; cursor: bigint; count: number; authorization: string | null }[] = [];
  const note = (list: string, request: { userId: bigint; cursor: bigint; count: number }, call: HandlerContext) => {
    const { userId, cursor, count } = request;
    asked.push({ list, userId, cursor, count, authorization: call.requestHeader.get("authorization") });
    return { nextCursor: 33n, hasMore: true };
  };
  const users = [{ id: 2n, name: "bo", isFollow: true }];
  fixture.origin.answer({
    listFollowing: (request, call) => ({ users, ...note("follow", request, call) }),
    listFollowers: (request, call) => ({ users, ...note("follower", request, call) }),
    listFriends: (request, call) => ({
      friends: [
        { user: users[0], message: "got it", sent: false },
        { user: users[0], message: "sent it", sent: true },
        { user: users[0] },
      ],
      ...note("friend", request, call),
    }),
  });
  return asked;
}

const user = { id: 2, name: "bo", is_follow: true };

describe.each(["follow", "follower", "friend"])("/relation/%s/list", (list) => {
  test("answers its people", async () => {
    const asked = answerLists();
    for (const path of [`/relation/${list}/list`, `/relation/${list}/list/`]) {
      const { json } = await fixture.call(`${path}?user_id=7&token=${viewerToken}&cursor=44&count=1000`);
      expect(json).toEqual({
        status_code: 0,
        status_msg: "success",
        user_list:
          list === "friend"
            ? [
                expect.objectContaining({ ...user, message: "got it", msgType: 0 }),
                expect.objectContaining({ ...user, message: "sent it", msgType: 1 }),
                expect.objectContaining({ ...user, message: "", msgType: 0 }),
              ]
            : [expect.objectContaining(user)],
        next_cursor: 33,
        has_more: true,
      });
    }
    const each = { list, userId: 7n, cursor: 44n, count: 100, authorization: `Bearer ${viewerToken}` };
    expect(asked).toEqual([each, each]);
  });

  test("asks for the caller's own without a user id", async () => {
    const asked = answerLists();
    await fixture.call(`/relation/${list}/list/?token=${viewerToken}`);
    expect(asked).toEqual([{ list, userId: 0n, cursor: 0n, count: 0, authorization: `Bearer ${viewerToken}` }]);
  });

  test.each(["user_id", "cursor", "count"])("refuses a bad %s by name, with its empty fields", async (name) => {
    const asked = answerLists();
    const { status, json } = await fixture.call(`/relation/${list}/list/?${name}=-1&token=${viewerToken}`);
    expect(status).toBe(200);
    expect(json).toEqual({
      status_code: 10001,
      status_msg: expect.stringContaining(name),
      user_list: [],
      next_cursor: 0,
      has_more: false,
    });
    expect(asked).toEqual([]);
  });
});
