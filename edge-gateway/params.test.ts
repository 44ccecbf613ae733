import { describe, expect, test } from "bun:test";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import {
  actionIs,
  actionMessage,
  actionParam,
  countParam,
  idParam,
  requiredIdParam,
  textParam,
  timeParam,
} from "./param-schemas.ts";
import { checkParams, readParams, tokenFrom, type Params } from "./params.ts";
import type { Soon } from "./soon.ts";

type Body = ConstructorParameters<typeof Response>[0];

const form = "application/x-www-form-urlencoded";

function post(query: string, body?: Body, contentType?: string): Request {
  return new Request(`http://gateway/douyin/user/login/${query}`, {
    method: "POST",
    ...(body === undefined ? {} : { body }),
    ...(contentType === undefined ? {} : { headers: { "content-type": contentType } }),
  });
}

async function failure(read: Soon<unknown>): Promise<[Reason, string]> {
  const error: unknown = await Promise.resolve(read).then(
    () => undefined,
    (problem: unknown) => problem,
  );
  return [reasonOf(error), error instanceof Error ? error.message : "nothing was thrown"];
}

function only(name: string, value: string): Params {
  return new Map([[name, value]]);
}

function header(authorization: string): Headers {
  return new Headers({ authorization });
}

describe("readParams", () => {
  const multipart = new FormData();
  multipart.set("username", "zoë 🎬");

  test.each<[string, Request]>([
    ["the query", post("?username=zo%C3%AB+%F0%9F%8E%AC")],
    ["an urlencoded form", post("", "username=zo%C3%AB%20%F0%9F%8E%AC", form)],
    ["a form with a charset", post("", "username=zo%C3%AB+%F0%9F%8E%AC", `${form.toUpperCase()}; charset=UTF-8`)],
    ["a JSON body", post("", JSON.stringify({ username: "zoë 🎬" }), "application/json; charset=utf-8")],
    ["a multipart form", post("", multipart)],
  ])("finds a parameter in %s", async (_where, request) => {
    expect((await readParams(request)).get("username")).toBe("zoë 🎬");
  });

  test("lets the body win over the query", async () => {
    const params = await readParams(post("?a=query&b=query", "a=body", form));
    expect([...params]).toEqual([
      ["a", "body"],
      ["b", "query"],
    ]);
  });

  test("takes an empty value for an absent one", async () => {
    const params = await readParams(post("?a=query", "a=&b=", form));
    expect([...params]).toEqual([["a", "query"]]);
  });

  test("takes the first of several values", async () => {
    expect((await readParams(post("?a=1&a=2"))).get("a")).toBe("1");
    expect((await readParams(post("", "a=1&a=2", form))).get("a")).toBe("1");
  });

  test("does not look at the body of a GET", async () => {
    const request = new Request("http://gateway/?a=1");
    Object.defineProperty(request, "body", { get: () => expect.unreachable() });
    expect([...(await readParams(request))]).toEqual([["a", "1"]]);
  });

  test("turns JSON numbers and booleans into text, and null into nothing", async () => {
    const body = '{"id":1.234567e+06,"big":9007199254740991,"yes":true,"none":null,"__proto__":"x"}';
    expect([...(await readParams(post("", body, "application/json")))]).toEqual([
      ["id", "1234567"],
      ["big", "9007199254740991"],
      ["yes", "true"],
      ["__proto__", "x"],
    ]);
  });

  test("leaves a file in a multipart form aside", async () => {
    const files = new FormData();
    files.set("username", new File(["x"], "x.txt"));
    expect([...(await readParams(post("", files)))]).toEqual([]);
  });

  test.each(["text/plain", "application/octet-stream", "nonsense", ""])(
    "takes an empty body of type %p",
    async (type) => {
      expect([...(await readParams(post("?a=1", "", type)))]).toEqual([["a", "1"]]);
    },
  );

  test.each(["text/plain", "application/xml", "application/jsonp", "x"])("refuses a body of type %p", async (type) => {
    expect((await failure(readParams(post("", "a=1", type))))[0]).toBe(Reason.UNSUPPORTED_MEDIA_TYPE);
  });

  test.each<[string, Body, string]>([
    ["cut-off JSON", '{"a":1', "application/json"],
    ["JSON that is no object", "[1,2]", "application/json"],
    ["JSON null", "null", "application/json"],
    ["a nested JSON value", '{"a":{"b":1}}', "application/json"],
    ["JSON that is not UTF-8", new Uint8Array([0x22, 0xff, 0x22]), "application/json"],
    ["deeply nested JSON", "[".repeat(60_000), "application/json"],
    ["multipart without a boundary", "--x\r\n", "multipart/form-data"],
    ["multipart with another boundary", "--x\r\n\r\nfoo", "multipart/form-data; boundary=y"],
  ])("refuses %s as INVALID_PARAMETER", async (_what, body, type) => {
    expect((await failure(readParams(post("", body, type))))[0]).toBe(Reason.INVALID_PARAMETER);
  });

  test("says which JSON field is not a plain value", async () => {
    const [, message] = await failure(readParams(post("", '{"user_id":[1]}', "application/json")));
    expect(message).toContain("user_id");
  });

  test("refuses a body over 64 KiB and says so", async () => {
    const [reason, message] = await failure(readParams(post("", `a=${"x".repeat(65_535)}`, form)));
    expect(reason).toBe(Reason.TOO_LARGE);
    expect(message).toContain("65536 bytes");
  });
});

/** What a schema makes of a parameter; of undefined, of its absence. */
function check(schema: v.GenericSchema, text: string | undefined, name = "it"): unknown {
  const params: Params = text === undefined ? new Map() : only(name, text);
  return checkParams(v.object({ [name]: schema }), params)[name];
}

describe("textParam", () => {
  test("names what is missing", async () => {
    const problem = failure(Promise.try(() => check(textParam("", ""), undefined, "password")));
    expect(await problem).toEqual([Reason.INVALID_PARAMETER, expect.stringContaining("password is missing.")]);
  });
});

describe("requiredIdParam", () => {
  const id = requiredIdParam("");

  test("reads an id", () => {
    expect(check(id, "1.2e+1")).toBe(12n);
  });

  test.each([
    [undefined, "to_user_id is missing."],
    ["0", "to_user_id must be a whole number above 0."],
    ["0e9", "to_user_id must be a whole number above 0."],
    ["9007199254740992", "to_user_id must be a whole number below 2^53."],
    ["x", "to_user_id must be a whole number below 2^53."],
  ])("refuses %p: %s", (text, message) => {
    expect(() => check(id, text, "to_user_id")).toThrow(message);
  });
});

describe("actionParam", () => {
  const action = actionParam("like", "unlike");

  test.each([
    ["1", "like"],
    ["1.000000", "like"],
    ["2e+00", "unlike"],
  ] as const)("reads %p as %s", (text, name) => {
    expect(check(action, text)).toBe(name);
  });

  test.each(["0", "3", "-1", "1.5", "like", "1e99"])("refuses %p and says what it takes", (text) => {
    expect(() => check(action, text, "action_type")).toThrow("action_type must be 1 (like) or 2 (unlike).");
  });
});

describe("a variant of actions", () => {
  const actions = ["post", "delete"] as const;
  const schema = v.variant(
    "action_type",
    [
      v.object({ action_type: actionIs(actions, "post"), comment_text: textParam("", "") }),
      v.object({ action_type: actionIs(actions, "delete"), comment_id: requiredIdParam("") }),
    ],
    actionMessage(...actions),
  );
  const read = (params: Record<string, string>) => checkParams(schema, new Map(Object.entries(params)));

  test("looks at the parameters of its action only", () => {
    expect(read({ action_type: "1.0", comment_text: "hi", comment_id: "rubbish" })).toEqual({
      action_type: "post",
      comment_text: "hi",
    });
    expect(read({ action_type: "2", comment_id: "7" })).toEqual({ action_type: "delete", comment_id: 7n });
  });

  test.each<[string, Record<string, string>]>([
    ["action_type is missing.", {}],
    ["action_type must be 1 (post) or 2 (delete).", { action_type: "3" }],
    ["comment_text is missing.", { action_type: "1" }],
    ["comment_id is missing.", { action_type: "2" }],
    ["comment_id must be a whole number above 0.", { action_type: "2", comment_id: "0" }],
  ])("says: %s", (message, params) => {
    expect(() => read(params)).toThrow(message);
  });
});

describe("idParam", () => {
  const id = idParam("");

  test.each<[string, bigint]>([
    ["0", 0n],
    ["007", 7n],
    ["9007199254740991", 9007199254740991n],
    ["1.234567e+06", 1234567n],
    ["1.234567e 06", 1234567n],
    ["1.234567E6", 1234567n],
    ["9.007199254740991e+15", 9007199254740991n],
    ["1234567.000000", 1234567n],
    ["1234567.", 1234567n],
    ["1200e-2", 12n],
    ["0e99", 0n],
  ])("reads %p", (text, number) => {
    expect(check(id, text)).toBe(number);
  });

  test("is 0 when absent", () => {
    expect(check(id, undefined)).toBe(0n);
  });

  test.each([
    ..."9007199254740992,9007199254740993,1e16,1e99,9007199254740990.5,1.5,1e-1,-1,-0,+1,1e+,e5,.5,0x10,1_000".split(
      ",",
    ),
    ..."NaN,Infinity,null,undefined,true,abc,１２,1;2,1%00,1 OR 1=1,../1,🎬, 1,1 ,1 1".split(","),
    "9".repeat(500),
    `1e${"9".repeat(9)}`,
    `1.${"0".repeat(60_000)}`,
    "1,2",
    "1\n",
    "\u0000",
  ])("refuses %p and names the parameter", (text) => {
    expect(() => check(id, text, "video_id")).toThrow("video_id must be a whole number below 2^53.");
  });
});

describe("countParam", () => {
  const count = countParam("", 30);

  test("is capped without a word, and 0 when absent", () => {
    expect([undefined, "0", "7", "30", "31", "9007199254740991"].map((text) => check(count, text))).toEqual([
      0, 0, 7, 30, 30, 30,
    ]);
  });

  test("refuses what is not a number", () => {
    expect(() => check(count, "-3", "count")).toThrow("count must be");
  });
});

describe("timeParam", () => {
  const now = 1_790_000_000_123;
  const time = (text?: string) =>
    check(
      timeParam("", () => now),
      text,
      "latest_time",
    );

  test.each<[string, bigint]>([
    ["1700000000", 1_700_000_000_000n],
    ["1700000000123", 1_700_000_000_123n],
    ["1.7e+09", 1_700_000_000_000n],
    ["1.7e 09", 1_700_000_000_000n],
    ["1.700000000123e12", 1_700_000_000_123n],
    ["1700000000.9", 1_700_000_000_900n],
    ["+1700000000", 1_700_000_000_000n],
    ["100000000001", 100_000_000_001n],
  ])("reads %p in milliseconds", (text, ms) => {
    expect(time(text)).toBe(ms);
  });

  test.each([
    "0",
    "-1",
    "-1700000000",
    "-1e20",
    "0.0",
    "1790000061",
    "1790000060124",
    "99999999999",
    "100000000000",
    "9".repeat(400),
    "1e400",
  ])("takes %p for now", (text) => {
    expect(time(text)).toBe(0n);
  });

  test("is now when absent", () => {
    expect(time()).toBe(0n);
  });

  test("keeps a moment that only a clock's skew makes the future", () => {
    expect(time(String(now + 59_000))).toBe(BigInt(now + 59_000));
  });

  test.each(["abc", "NaN", "Infinity", "2026-11-22", "1e", "0x10", "1 2", " ", "1700000000;", "null", "🎬"])(
    "refuses %p",
    (text) => {
      expect(() => time(text)).toThrow("latest_time");
    },
  );
});

describe("tokenFrom", () => {
  test("prefers the header to the parameter", () => {
    expect(tokenFrom(header("Bearer one"), only("token", "two"))).toBe("one");
    expect(tokenFrom(header("bearer  one"), only("token", "two"))).toBe("one");
    expect(tokenFrom(new Headers(), only("token", "two"))).toBe("two");
  });

  test("takes a header without a bearer token for none", () => {
    for (const value of ["Basic dTpw", "Bearer", "Bearer ", "one"]) {
      expect(tokenFrom(header(value), only("token", "two"))).toBe("two");
      expect(tokenFrom(header(value), new Map())).toBeUndefined();
    }
  });

  test.each(["two words", "line\nbreak", "tökén", "🎬", "x".repeat(4097), "\u0000"])(
    "refuses %p as UNAUTHENTICATED",
    async (token) => {
      const [reason, message] = await failure(Promise.try(() => tokenFrom(new Headers(), only("token", token))));
      expect(reason).toBe(Reason.UNAUTHENTICATED);
      expect(message).not.toContain(token);
    },
  );
});
