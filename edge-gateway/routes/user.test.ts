import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { HandlerContext } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { type Fixture, otherToken, startFixture, viewerToken } from "../testing.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.stop());

const form = { "content-type": "application/x-www-form-urlencoded" };
const json = { "content-type": "application/json" };

/** Answers both calls with what they were asked, and tells what it was. */
function echoCredentials(): { username: string; password: string; authorization: string | null }[] {
  const asked: { username: string; password: string; authorization: string | null }[] = [];
  const answer = (
    { username, password }: { username: string; password: string },
    { requestHeader }: HandlerContext,
  ) => {
    asked.push({ username, password, authorization: requestHeader.get("authorization") });
    return { userId: 9007199254740991n, token: "the.token" };
  };
  fixture.origin.answer({ register: answer, login: answer });
  return asked;
}

const refuse = () => Promise.reject(flickError(Reason.USERNAME_TAKEN, "this username is already in use"));

const multipart = new FormData();
multipart.set("username", "zoë 🎬");
multipart.set("password", "a&b=c d+%");
const query = "username=zo%C3%AB+%F0%9F%8E%AC&password=a%26b%3Dc%20d%2B%25";

describe.each(["/user/register", "/user/login"])("%s", (path) => {
  test.each<[string, string, RequestInit]>([
    ["the query", `/?${query}`, {}],
    ["the query, without the trailing slash", `?${query}`, {}],
    ["a form", "/", { body: query, headers: form }],
    ["JSON", "/", { body: JSON.stringify({ username: "zoë 🎬", password: "a&b=c d+%" }), headers: json }],
    ["multipart", "/", { body: multipart }],
    ["a form, with others in the query", "/?username=other&password=other", { body: query, headers: form }],
    ["a form and the query", "/?username=zo%C3%AB+%F0%9F%8E%AC", { body: "password=a%26b%3Dc+d%2B%25", headers: form }],
  ])("takes credentials from %s", async (_where, suffix, init) => {
    const asked = echoCredentials();
    const { status, json: body } = await fixture.call(`${path}${suffix}`, { method: "POST", ...init });
    expect(status).toBe(200);
    expect(body).toEqual({ status_code: 0, status_msg: "success", user_id: 9007199254740991, token: "the.token" });
    expect(asked).toEqual([{ username: "zoë 🎬", password: "a&b=c d+%", authorization: null }]);
  });

  test("does not let a stale token stand in the way", async () => {
    const asked = echoCredentials();
    const headers = { authorization: "Bearer stale" };
    const { json: body } = await fixture.call(`${path}/?${query}&token=stale`, { method: "POST", headers });
    expect(body["status_code"]).toBe(0);
    expect(asked[0]?.authorization).toBeNull();
  });

  test("answers a failure with its empty fields", async () => {
    fixture.origin.answer({ register: refuse, login: refuse });
    const { status, json: body } = await fixture.call(`${path}/?${query}`, { method: "POST" });
    expect(status).toBe(200);
    expect(body).toEqual({ status_code: 20001, status_msg: "this username is already in use", user_id: 0, token: "" });
  });

  test.each<[string, string, RequestInit, number, Reason, string]>([
    ["no username", "?password=secret1", {}, 200, Reason.INVALID_PARAMETER, "username"],
    ["no password", "?username=a", {}, 200, Reason.INVALID_PARAMETER, "password"],
    ["nothing", "", {}, 200, Reason.INVALID_PARAMETER, "username"],
    ["malformed JSON", "", { body: "{", headers: json }, 200, Reason.INVALID_PARAMETER, "JSON"],
    ["a JSON array", "", { body: "[]", headers: json }, 200, Reason.INVALID_PARAMETER, "JSON object"],
    ["an object for a name", "", { body: '{"username":{}}', headers: json }, 200, Reason.INVALID_PARAMETER, "username"],
    [
      "invalid multipart",
      "",
      { body: "x", headers: { "content-type": "multipart/form-data" } },
      200,
      Reason.INVALID_PARAMETER,
      "multipart",
    ],
    [
      "multipart that is cut off",
      "",
      {
        body: '--b\r\nContent-Disposition: form-data; name="username"\r\n\r\nzo',
        headers: { "content-type": "multipart/form-data; boundary=b" },
      },
      200,
      Reason.INVALID_PARAMETER,
      "multipart",
    ],
    ["text", "", { body: "x", headers: { "content-type": "text/plain" } }, 415, Reason.UNSUPPORTED_MEDIA_TYPE, "body"],
    ["a body of no type", "", { body: new Uint8Array(3) }, 415, Reason.UNSUPPORTED_MEDIA_TYPE, "body"],
    [
      "1 MB of JSON",
      "",
      { body: JSON.stringify({ username: "x".repeat(1 << 20) }), headers: json },
      413,
      Reason.TOO_LARGE,
      "65536",
    ],
  ])("refuses %s", async (_what, suffix, init, status, reason, message) => {
    const asked = echoCredentials();
    const answer = await fixture.call(`${path}/${suffix}`, { method: "POST", ...init });
    expect(answer.status).toBe(status);
    expect(answer.json).toEqual({
      status_code: reason,
      status_msg: expect.stringContaining(message),
      user_id: 0,
      token: "",
    });
    expect(asked).toEqual([]);
  });

  test("keeps the connection of 1 MB of JSON that it refuses", async () => {
    const body = JSON.stringify({ username: "x".repeat(1 << 20) });
    for (let turn = 0; turn < 20; turn++) {
      expect((await fixture.call(path, { method: "POST", body, headers: json, keepalive: true })).status).toBe(413);
    }
  });

  test("stops reading a chunked body that has no end", async () => {
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        // Slowly, so that the answer is read before the connection is found closed.
        await Bun.sleep(20);
        sent += 262_144;
        controller.enqueue(new Uint8Array(262_144));
        if (sent >= 64 << 20) controller.close();
      },
    });
    const answer = await fixture.call(path, { method: "POST", body, headers: json });
    expect(answer.status).toBe(413);
    expect(sent).toBeLessThan(32 << 20);
  });
});

describe("/user", () => {
  const user = {
    id: 123456789012345n,
    name: "zoë 🎬",
    followCount: 1n,
    followerCount: 2n,
    isFollow: true,
    avatar: "http://img/a.png",
    backgroundImage: "http://img/b.jpg",
    signature: "hello",
    totalFavorited: 3n,
    workCount: 4n,
    favoriteCount: 5n,
  };
  const noUser = {
    id: 0,
    name: "",
    follow_count: 0,
    follower_count: 0,
    is_follow: false,
    avatar: "",
    background_image: "",
    signature: "",
    total_favorited: 0,
    work_count: 0,
    favorite_count: 0,
  };

  function answerUser(): { userId: bigint; authorization: string | null }[] {
    const asked: { userId: bigint; authorization: string | null }[] = [];
    fixture.origin.answer({
      getUser({ userId }, { requestHeader }) {
        asked.push({ userId, authorization: requestHeader.get("authorization") });
        return { user };
      },
    });
    return asked;
  }

  test("answers the User object with numbers for ids", async () => {
    answerUser();
    const { status, json: body } = await fixture.call(`/user/?user_id=123456789012345&token=${viewerToken}`);
    expect(status).toBe(200);
    expect(body).toEqual({
      status_code: 0,
      status_msg: "success",
      user: {
        id: 123456789012345,
        name: "zoë 🎬",
        follow_count: 1,
        follower_count: 2,
        is_follow: true,
        avatar: "http://img/a.png",
        background_image: "http://img/b.jpg",
        signature: "hello",
        total_favorited: 3,
        work_count: 4,
        favorite_count: 5,
      },
    });
  });

  test.each<[string, bigint]>([
    ["", 0n],
    ["?user_id=", 0n],
    ["?user_id=0", 0n],
    ["?user_id=42", 42n],
    ["?user_id=1.234567e%2B06", 1234567n],
    ["?user_id=1.234567e+06", 1234567n],
    ["?user_id=9007199254740991", 9007199254740991n],
  ])("asks %p for the right user", async (suffix, userId) => {
    const asked = answerUser();
    const headers = { authorization: `Bearer ${viewerToken}` };
    expect((await fixture.call(`/user${suffix}`, { headers })).json["status_code"]).toBe(0);
    expect((await fixture.call(`/user/${suffix}`, { headers })).json["status_code"]).toBe(0);
    expect(asked).toEqual([
      { userId, authorization: `Bearer ${viewerToken}` },
      { userId, authorization: `Bearer ${viewerToken}` },
    ]);
  });

  test.each([
    "abc",
    "-1",
    "1.5",
    "9007199254740992",
    "1e400",
    "NaN",
    "%00",
    "%F0%9F%8E%AC",
    "%ff%fe",
    "1;drop",
    "[]",
    "{}",
    "0x1",
  ])("refuses the id %p by name", async (id) => {
    const asked = answerUser();
    const { status, json: body } = await fixture.call(`/user/?user_id=${id}&token=${viewerToken}`);
    expect(status).toBe(200);
    expect(body).toEqual({ status_code: 10001, status_msg: expect.stringContaining("user_id"), user: noUser });
    expect(asked).toEqual([]);
  });

  test("lets the header's token win over the query's", async () => {
    const asked = answerUser();
    await fixture.call(`/user/?token=${viewerToken}`, { headers: { authorization: `Bearer ${otherToken}` } });
    await fixture.call(`/user/?token=${viewerToken}`);
    await fixture.call(`/user/?token=${viewerToken}`, { headers: { authorization: "Basic dTpw" } });
    expect(asked.map(({ authorization }) => authorization)).toEqual([
      `Bearer ${otherToken}`,
      `Bearer ${viewerToken}`,
      `Bearer ${viewerToken}`,
    ]);
  });

  test("refuses a token that no header can carry with 401", async () => {
    const asked = answerUser();
    const { status, json: body } = await fixture.call("/user/?token=line%0Abreak");
    expect(status).toBe(401);
    expect(body).toEqual({ status_code: 10002, status_msg: "the token is not valid: sign in again", user: noUser });
    expect(asked).toEqual([]);
  });

  test("answers an unknown user with an empty one", async () => {
    fixture.origin.answer({
      getUser: () => Promise.reject(flickError(Reason.USER_NOT_FOUND, "there is no such user")),
    });
    const { status, json: body } = await fixture.call(`/user/?user_id=1&token=${viewerToken}`);
    expect(status).toBe(200);
    expect(body).toEqual({ status_code: 20003, status_msg: "there is no such user", user: noUser });
  });
});
