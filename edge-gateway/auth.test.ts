import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import type { HandlerContext } from "@connectrpc/connect";
import { startGateway, type Gateway } from "@flick/dev/gateway.ts";
import { freePorts } from "@flick/dev/ports.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
import { createAuthority, forgeries } from "@flick/platform/access-token/testing.ts";

import { authority, otherToken, startFixture, startFixtureOrigin, viewerToken, type Fixture } from "./testing.ts";

setDefaultTimeout(60_000);

const newer = await createAuthority("newer");
let fixture: Fixture;
/** Who called the origin, by the token that the call was made with. */
let called: (string | null)[] = [];
beforeAll(async () => {
  fixture = await startFixture();
  const seen = (_request: unknown, { requestHeader }: HandlerContext) => {
    called.push(requestHeader.get("authorization"));
    return {};
  };
  fixture.origin.answer({ getFeed: seen, getUser: seen, setFavorite: seen, login: seen, logout: seen });
});
afterAll(() => fixture.stop());
afterEach(() => (called = []));

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const like = { video_id: "12", action_type: "1" };

describe("a token of ours", () => {
  test.each<[string, string, RequestInit]>([
    ["the header", "/favorite/action/?video_id=12&action_type=1", bearer(viewerToken)],
    ["the query", `/favorite/action/?video_id=12&action_type=1&token=${viewerToken}`, {}],
    ["a form", "/favorite/action/", { body: new URLSearchParams({ ...like, token: viewerToken }) }],
    [
      "JSON",
      "/favorite/action/",
      { body: JSON.stringify({ ...like, token: viewerToken }), headers: { "content-type": "application/json" } },
    ],
  ])("is passed on to the origin from %s", async (_where, path, init) => {
    expect((await fixture.call(path, { method: "POST", ...init })).json["status_code"]).toBe(0);
    expect(called).toEqual([`Bearer ${viewerToken}`]);
  });

  test("that signs out is passed on, for the origin to revoke", async () => {
    const { json } = await fixture.call("/user/logout/", { method: "POST", ...bearer(otherToken) });
    expect(json).toEqual({ status_code: 0, status_msg: "success" });
    expect(called).toEqual([`Bearer ${otherToken}`]);
  });
});

describe("at the edge", () => {
  const refusal = { status_code: 10002, status_msg: "the token is not valid: sign in again" };

  test.each(Object.entries(forgeries(authority, "a secret that is shared by programs")))(
    "a token with %s is refused, and the origin hears nothing of it",
    async (_what, forge) => {
      const token = await forge();
      const inBody = { method: "POST", body: new URLSearchParams({ ...like, token }) };
      for (const answer of [
        await fixture.call("/user/", bearer(token)),
        await fixture.call("/feed/", bearer(token)),
        await fixture.call(`/user/?token=${encodeURIComponent(token)}`),
        await fixture.call("/favorite/action/", inBody),
        await fixture.call("/publish/action/", { method: "POST", body: new FormData(), ...bearer(token) }),
      ]) {
        expect([answer.status, answer.json]).toEqual([401, expect.objectContaining(refusal)]);
        expect(answer.headers.get("www-authenticate")).toBe("Bearer");
      }
      expect(called).toEqual([]);
    },
  );

  test("a call that needs a token ends without one, before its parameters are looked at", async () => {
    for (const path of ["/user/", "/favorite/list/?user_id=x", "/message/stream"]) {
      const { status, json } = await fixture.call(path);
      expect(status).toBe(401);
      expect(json).toMatchObject({ status_code: 10002, status_msg: "sign in first: a token is missing" });
    }
    expect(called).toEqual([]);
  });

  test("a bad token keeps nobody from signing in", async () => {
    const path = "/user/login/?username=a&password=secret1&token=rubbish";
    const { json } = await fixture.call(path, { method: "POST", ...bearer("rubbish") });
    expect(json["status_code"]).toBe(0);
    expect(called).toEqual([null]);
  });

  test("the published keys are those of the origin, for everybody to keep a while", async () => {
    const answer = await fetch(`${fixture.gateway.url}${publicKeysPath}`);
    expect(answer.headers.get("content-type")).toBe("application/jwk-set+json");
    expect(answer.headers.get("cache-control")).toBe("public, max-age=5");
    expect(await answer.json()).toEqual({ keys: [authority.publicJwk] });
  });
});

describe("a gateway of its own", () => {
  let gateway: Gateway | undefined;
  let stopOrigin: (() => Promise<void>) | undefined;
  afterEach(async () => {
    await gateway?.stop();
    await stopOrigin?.();
    gateway = undefined;
  });

  async function start(port: number): Promise<Gateway> {
    gateway = await startGateway({
      vars: { ORIGIN_URL: `http://127.0.0.1:${port}`, IP_LIMIT_FACTOR: "1000" },
      log: () => {},
    });
    return gateway;
  }

  function startOrigin(port: number, publicKeys: () => Response) {
    const origin = startFixtureOrigin(port);
    stopOrigin = () => origin.stop();
    origin.answer({ publicKeys, getUser: () => ({}), getFeed: () => ({}) });
    return origin;
  }

  const status = async (token: string, path = "/user/") =>
    (await fetch(`${gateway?.url}/douyin${path}`, { ...bearer(token), keepalive: false })).status;

  test("cannot judge tokens before it has had the keys, and goes on with the last ones afterwards", async () => {
    const [port = 0] = await freePorts(1);
    await start(port);
    expect(await status(viewerToken)).toBe(503);
    expect(await status("rubbish")).toBe(401);
    expect((await fetch(`${gateway?.url}${publicKeysPath}`)).status).toBe(503);
    startOrigin(port, () => new Response(authority.keySet));
    const deadline = Date.now() + 10_000;
    while ((await status(viewerToken)) !== 200 && Date.now() < deadline) await Bun.sleep(50);
    expect(await status(viewerToken)).toBe(200);
    await stopOrigin?.();
    // Good still: it is the call that fails. Bad still: it is the token.
    expect(await status(otherToken)).toBe(503);
    expect(await status(await authority.sign({ aud: "somebody" }))).toBe(401);
    // Nobody can say whether there is such a key by now.
    await Bun.sleep(2_100);
    expect(await status(await newer.issue())).toBe(503);
  });

  test("asks for the keys once, however many come at once, and every two seconds for kids that nobody knows", async () => {
    const [port = 0] = await freePorts(1);
    let asked = 0;
    startOrigin(port, () => {
      asked++;
      return new Response(authority.keySet);
    });
    await start(port);
    const began = Date.now();
    const tokens = await Promise.all(Array.from({ length: 60 }, (_, index) => authority.issue({ userId: index + 1 })));
    expect(new Set(await Promise.all(tokens.map((token) => status(token))))).toEqual(new Set([200]));
    expect(asked).toBe(1);
    const made = await Promise.all(Array.from({ length: 200 }, (_, index) => newer.sign({}, { kid: `kid-${index}` })));
    for (let from = 0; from < made.length; from += 20) {
      expect(new Set(await Promise.all(made.slice(from, from + 20).map((token) => status(token))))).toEqual(
        new Set([401]),
      );
    }
    expect(asked).toBeLessThanOrEqual(1 + Math.ceil((Date.now() - began) / 2_000));
  });

  test("takes a token of a key that is new to it at once, and those of a key that is gone no longer", async () => {
    const [port = 0] = await freePorts(1);
    let keySet = authority.keySet;
    startOrigin(port, () => new Response(keySet));
    await start(port);
    expect(await status(viewerToken)).toBe(200);
    await Bun.sleep(2_100);
    keySet = JSON.stringify({ keys: [authority.publicJwk, newer.publicJwk] });
    expect(await status(await newer.issue())).toBe(200);
    expect(await status(viewerToken)).toBe(200);
    await Bun.sleep(2_100);
    keySet = newer.keySet;
    // It asks again for some other token's sake.
    expect(await status(await (await createAuthority("unknown")).issue())).toBe(401);
    expect(await status(viewerToken)).toBe(401);
    expect(await status(await newer.issue())).toBe(200);
  });
});
