import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { RedisClient } from "bun";
import { SignJWT, importJWK, UnsecuredJWT, type CryptoKey, type JWK } from "jose";

import { eventLogOf } from "./event-log.ts";
import { atFullSpeed, runStack, type RunningStack } from "./running-stack.ts";

let flick: RunningStack;
let viewer: { user_id: number; token: string; name: string };
beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
  viewer = await flick.signUp();
}, 60_000);
afterAll(() => flick.stop(), 30_000);

interface Answer {
  http: number;
  body: Record<string, unknown> & { status_code: number; status_msg: string };
}

async function call(method: string, path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(`${flick.url}/douyin${path}`, { method, redirect: "manual", ...init });
  const body = (await response.json()) as Answer["body"];
  expect(body.status_code).toBeNumber();
  expect(body.status_msg).toBeString();
  return { http: response.status, body };
}

const json = (value: unknown): RequestInit => ({
  body: JSON.stringify(value),
  headers: { "content-type": "application/json" },
});

test("a mini Douyin client's first minute works: register, log in, look at oneself, the feed, one's list", async () => {
  const register = await call("POST", "/user/register/?username=old%20client&password=123456");
  expect(register).toMatchObject({ http: 200, body: { status_code: 0 } });
  const login = await call("POST", "/user/login/?username=old%20client&password=123456");
  expect(login.body["user_id"]).toBe(register.body["user_id"]);
  const token = String(login.body["token"]);
  const user = await call("GET", `/user/?user_id=${Number(register.body["user_id"]).toExponential(15)}&token=${token}`);
  expect(user.body["user"]).toEqual({
    id: register.body["user_id"],
    name: "old client",
    follow_count: 0,
    follower_count: 0,
    is_follow: false,
    total_favorited: 0,
    work_count: 0,
    favorite_count: 0,
    avatar: expect.stringMatching(/^http/),
    background_image: expect.stringMatching(/^http/),
    signature: expect.stringMatching(/\S/),
  });
  expect((await call("GET", "/feed/")).body["video_list"]).toEqual([]);
  expect((await call("GET", `/publish/list?user_id=0&token=${token}`)).body["video_list"]).toEqual([]);
});

test("parameters arrive from anywhere, and the body wins over the query", async () => {
  const form = new FormData();
  form.set("username", "from a form");
  form.set("password", "123456");
  const inits: [string, RequestInit][] = [
    ["from json", json({ username: "from json", password: "123456" })],
    ["urlencoded", { body: new URLSearchParams({ username: "urlencoded", password: "123456" }) }],
    ["from a form", { body: form }],
  ];
  for (const [name, init] of inits) {
    const made = await call("POST", "/user/register?username=query&password=querypassword", init);
    const user = await call("GET", "/user", { headers: { authorization: `Bearer ${String(made.body["token"])}` } });
    expect(user.body["user"]).toMatchObject({ name });
  }
});

test("a failed register still answers an empty token", async () => {
  const again = await call("POST", `/user/register/?username=${encodeURIComponent(viewer.name)}&password=123456`);
  expect(again.http).toBe(200);
  expect(again.body).toMatchObject({ token: "", user_id: 0 });
  expect(again.body.status_code).not.toBe(0);
});

test("a name goes to one of 50 clients that register it at once", async () => {
  const answers = await Promise.all(
    Array.from({ length: 50 }, () =>
      call("POST", "/user/register/", json({ username: "raced 🏁", password: "123456" })),
    ),
  );
  expect(answers.filter(({ body }) => body.status_code === 0)).toHaveLength(1);
  expect(answers.every(({ http }) => http === 200)).toBe(true);
});

describe("a token that is", () => {
  const lists = ["/user/", "/publish/list/"];
  const forms: Record<string, () => Promise<string> | string> = {
    missing: () => "",
    rubbish: () => "rubbish",
    forged: () => `${viewer.token.slice(0, -4)}AAAA`,
    unsigned: () =>
      new UnsecuredJWT({ sub: String(viewer.user_id), iss: "flick", aud: "flick" }).setExpirationTime("1h").encode(),
    expired: async () => {
      const jwk = (await Bun.file(join(flick.dir, "data/secrets/jwt.json")).json()) as JWK & { kid: string };
      return new SignJWT({ gen: 0 })
        .setJti(crypto.randomUUID())
        .setProtectedHeader({ alg: "EdDSA", typ: "at+jwt", kid: jwk.kid })
        .setIssuer("flick")
        .setAudience("flick")
        .setSubject(String(viewer.user_id))
        .setIssuedAt(1_700_000_000)
        .setExpirationTime(1_700_000_060)
        .sign((await importJWK(jwk, "EdDSA")) as CryptoKey);
    },
  };
  test.each(Object.keys(forms))("%s is answered with 401", async (form) => {
    const token = (await forms[form]?.()) ?? "";
    for (const path of lists) {
      expect(await call("GET", `${path}?token=${token}`)).toMatchObject({ http: 401 });
      if (token)
        expect(await call("GET", path, { headers: { authorization: `Bearer ${token}` } })).toMatchObject({ http: 401 });
    }
  });
});

test("an unknown user is a business error with an empty user", async () => {
  const { http, body } = await call("GET", `/user/?user_id=123456&token=${viewer.token}`);
  expect(http).toBe(200);
  expect(body.status_code).not.toBe(0);
});

test.each(["abc", "-1", "1.5", "9007199254740993", "1e400", "0x10", "%00"])(
  "user_id=%s is refused by name",
  async (id) => {
    const { http, body } = await call("GET", `/user/?user_id=${id}&token=${viewer.token}`);
    expect(http).toBe(200);
    expect(body.status_code).not.toBe(0);
    expect(body.status_msg).toContain("user_id");
  },
);

test.each(["", "0", "-1", "1700000000", "1700000000000", "99999999999999", "1.7e12"])(
  "latest_time=%s gives a feed",
  async (time) => {
    expect(await call("GET", `/feed/?latest_time=${time}`)).toMatchObject({
      http: 200,
      body: { status_code: 0, video_list: [] },
    });
  },
);

test("latest_time=rubbish is refused by name", async () => {
  const { body } = await call("GET", "/feed/?latest_time=rubbish");
  expect(body.status_code).not.toBe(0);
  expect(body.status_msg).toContain("latest_time");
});

test("a JSON body of 1 MB is refused with 413", async () => {
  const answer = await call("POST", "/user/login/", json({ username: "x".repeat(1_000_000), password: "123456" }));
  expect(answer.http).toBe(413);
});

test("an unknown path is 404, a wrong method 405, both in the envelope", async () => {
  expect((await call("GET", "/nowhere/")).http).toBe(404);
  expect((await call("GET", "/user/login/")).http).toBe(405);
});

test("uploads are refused clearly: no token, no video, no title, not a form", async () => {
  const upload = async (fields: Record<string, string | Blob>) => {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.set(name, value);
    return call("POST", "/publish/action/", { body });
  };
  const clip = new Blob(["\0\0\0\x20ftypisom", new Uint8Array(100)]);
  const { token } = viewer;
  expect(await upload({ data: clip, title: "t" })).toMatchObject({ http: 401 });
  const refusals = [
    await upload({ token, title: "t" }),
    await upload({
      token,
      data: new Blob(["just text, and enough of it to look at the first bytes of it all"]),
      title: "t",
    }),
    await upload({ token, data: clip }),
    await upload({ token, data: clip, title: "x".repeat(101) }),
  ];
  for (const { http, body } of refusals) {
    expect(http).toBe(200);
    expect(body.status_code).not.toBe(0);
    expect(body.status_msg).toMatch(/^(data|title): /);
  }
  expect((await call("POST", "/publish/action/", json({ token }))).http).toBe(415);
  expect(await flick.objects.list("raw/")).toEqual([]);
});

test("a file over the limit is refused with 413 before it has been sent", async () => {
  const { hostname, port } = new URL(flick.url);
  const { promise: answer, resolve } = Promise.withResolvers<string>();
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: { data: (_socket, data) => resolve(data.toString()), error: () => {} },
  });
  const headers = ["content-type: multipart/form-data; boundary=b", "content-length: 5000000000"];
  socket.write(
    [`POST /douyin/publish/action/?token=${viewer.token} HTTP/1.1`, `host: ${hostname}`, ...headers, "", ""].join(
      "\r\n",
    ),
  );
  expect(await answer).toStartWith("HTTP/1.1 413");
  socket.end();
});

test("neither the cache nor the event log holds a password's hash", async () => {
  const eventLog = eventLogOf(flick.stack.urls);
  const published: string[] = [];
  const handler = ({ value }: { value: string }) => void published.push(value);
  await eventLog.subscribe({ group: "contract", topics: ["cdc.users"], handler: async (event) => handler(event) });
  while ((await eventLog.lag("cdc.users", "contract")) > 0) await Bun.sleep(20);
  await eventLog.close();
  const redis = new RedisClient(flick.stack.urls.redis);
  const profiles = (await redis.send("KEYS", ["user::*"])) as string[];
  expect(profiles.length).toBeGreaterThan(0);
  const cached = await Promise.all(profiles.map((key) => redis.hgetall(key)));
  redis.close();
  for (const stored of [published, cached].map((found) => JSON.stringify(found))) {
    expect(stored).toContain("old client");
    expect(stored).not.toMatch(/password|\$2[aby]\$/);
  }
});

test("no program has logged a token, a password or an id", () => {
  const printed = flick.printed();
  for (const secret of [viewer.token, "a good password", String(viewer.user_id)]) expect(printed).not.toContain(secret);
});
