import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { atFullSpeed, runStack, type RunningStack } from "./running-stack.ts";

type Person = Awaited<ReturnType<RunningStack["signUp"]>>;

let flick: RunningStack;
let ann: Person;
let ben: Person;
beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
  ann = await flick.signUp();
  ben = await flick.signUp();
}, 60_000);
afterAll(() => flick.stop(), 30_000);

type Params = Record<string, string | number>;

/** What a call is answered with; never with a fault of ours, and always in the envelope. */
async function call(method: "GET" | "POST", path: string, params: Params, token = ann.token) {
  const url = new URL(`/douyin${path}`, flick.url);
  const values = new URLSearchParams(token ? { token } : {});
  for (const [name, value] of Object.entries(params)) values.set(name, String(value));
  if (method === "GET") url.search = values.toString();
  const response = await fetch(url, { method, ...(method === "POST" ? { body: values } : {}) });
  const body = (await response.json()) as Record<string, unknown> & { status_code: number; status_msg: string };
  expect(response.status).toBeLessThan(500);
  expect(body.status_code).toBeNumber();
  expect(body.status_msg).toBeString();
  return { http: response.status, body };
}

const actions: [string, string, Params][] = [
  ["liking", "/favorite/action/", { video_id: 1, action_type: 1 }],
  ["commenting", "/comment/action/", { video_id: 1, action_type: 1, comment_text: "a" }],
  ["deleting a comment", "/comment/action/", { video_id: 1, action_type: 2, comment_id: 1, comment_text: "a" }],
  ["following", "/relation/action/", { to_user_id: 1, action_type: 1 }],
  ["sending a message", "/message/action/", { to_user_id: 1, action_type: 1, content: "a" }],
  ["deleting a video", "/publish/delete/", { video_id: 1 }],
];
const lists: [string, Params, string][] = [
  ["/favorite/list/", {}, "video_list"],
  ["/comment/list/", { video_id: 1 }, "comment_list"],
  ["/relation/follow/list/", {}, "user_list"],
  ["/relation/follower/list/", {}, "user_list"],
  ["/relation/friend/list/", {}, "user_list"],
  ["/message/chat/", { to_user_id: 1 }, "message_list"],
];
const badIds = ["0", "-1", "9007199254740992", "9223372036854775808", "1.5", "abc", "0x10", "\0", "🎬"];

test.each(actions)("%s: every bad id is refused by its name", async (_what, path, good) => {
  for (const name of Object.keys(good).filter((each) => each.endsWith("_id"))) {
    for (const value of [...badIds, ""]) {
      const { http, body } = await call("POST", path, { ...good, [name]: value });
      expect(http).toBe(200);
      expect(body.status_code).toBe(10001);
      expect(body.status_msg).toContain(name);
    }
  }
});

test.each(actions)("%s: only who is signed in may do it", async (_what, path, good) => {
  for (const token of ["", "rubbish"]) expect((await call("POST", path, good, token)).http).toBe(401);
});

test.each(actions.filter(([, , good]) => "action_type" in good))(
  "%s: a bad action_type is refused by its name, and 1 is taken in any notation",
  async (_what, path, good) => {
    for (const value of ["0", "3", "", "-1", "1.5", "like", "1e1", "9223372036854775808"]) {
      const { http, body } = await call("POST", path, { ...good, action_type: value });
      expect(http).toBe(200);
      expect(body.status_code).toBe(10001);
      expect(body.status_msg).toContain("action_type");
    }
    for (const value of ["1e0", "1.0"]) {
      const { body } = await call("POST", path, { ...good, action_type: value });
      expect(body.status_code).not.toBe(10001);
    }
  },
);

describe.each(lists)("%s", (path, good, field) => {
  test("answers forged and stale cursors with an empty list or by their name", async () => {
    for (const cursor of ["1", "9007199254740991", "-1", "9007199254740992", "abc", "%00", "🎬", "1e400"]) {
      const { http, body } = await call("GET", path, { ...good, cursor });
      expect(http).toBe(200);
      expect(body[field]).toEqual([]);
      if (body.status_code !== 0) expect(body.status_msg).toContain("cursor");
    }
  });

  test("refuses bad ids and counts by their names", async () => {
    for (const name of [...Object.keys(good), ...(path.startsWith("/favorite") ? ["user_id"] : []), "count"]) {
      for (const value of badIds.filter((each) => each !== "0" || name.startsWith("to_"))) {
        const { http, body } = await call("GET", path, { ...good, [name]: value });
        expect(http).toBe(200);
        expect(body.status_msg).toContain(name);
        expect(body).toMatchObject({ status_code: 10001, [field]: [], next_cursor: 0, has_more: false });
      }
    }
  });

  test("tells nothing to a caller with a bad token", async () => {
    expect(await call("GET", path, good, "rubbish")).toMatchObject({ http: 401, body: { [field]: [] } });
    if (!path.startsWith("/comment")) expect((await call("GET", path, good, "")).http).toBe(401);
  });
});

const emptyTexts = [" ", "\n\t ", "\u200B\u200D\uFEFF", "\u3164", "\0", ""];
const longText = "鱼".repeat(6_000);

test.each<[string, string, () => Params]>([
  ["a comment", "/comment/action/", () => ({ video_id: 1, action_type: 1 })],
  ["a message", "/message/action/", () => ({ to_user_id: ben.user_id, action_type: 1 })],
])("%s must have something in it, and not too much", async (what, path, params) => {
  const name = what === "a comment" ? "comment_text" : "content";
  for (const text of [...emptyTexts, longText, "x".repeat(10_000)]) {
    const { http, body } = await call("POST", path, { ...params(), [name]: text });
    expect(http).toBe(200);
    expect(body.status_code).toBe(10001);
    expect(body.status_msg).toContain(name);
  }
});

test("nobody there is neither followed nor written to, and oneself neither", async () => {
  const nobody = 4_503_599_627_370_496;
  expect((await call("POST", "/relation/action/", { to_user_id: nobody, action_type: 1 })).body.status_code).toBe(
    20003,
  );
  expect((await call("POST", "/relation/action/", { to_user_id: nobody, action_type: 2 })).body.status_code).toBe(0);
  const message = { action_type: 1, content: "hello?" };
  expect((await call("POST", "/message/action/", { to_user_id: nobody, ...message })).body.status_code).toBe(20003);
  expect((await call("POST", "/message/action/", { to_user_id: ann.user_id, ...message })).body.status_code).toBe(
    50002,
  );
  expect((await call("GET", "/message/chat/", { to_user_id: nobody })).body["message_list"]).toEqual([]);
});

test("a stream of messages is refused to who is not signed in or names no place in it", async () => {
  expect((await call("GET", "/message/stream/", {}, "")).http).toBe(401);
  expect((await call("GET", "/message/stream/", {}, "rubbish")).http).toBe(401);
  for (const params of [{ since: "yesterday" }, { since: "1-2-_" }, { since: "-1" }] as Params[]) {
    const { http, body } = await call("GET", "/message/stream/", params);
    expect(http).toBe(200);
    expect(body.status_code).toBe(10001);
    expect(body.status_msg).toContain("since");
  }
  expect((await call("GET", "/message/stream/", { to_user_id: "x" })).body.status_msg).toContain("to_user_id");
});

test("no program has logged a token, a text or an id", () => {
  const printed = flick.printed();
  for (const secret of [ann.token, "hello?", String(ann.user_id), String(ben.user_id)])
    expect(printed).not.toContain(secret);
});
