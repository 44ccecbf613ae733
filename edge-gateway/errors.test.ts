import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { Code, ConnectError } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { ErrorDetailSchema, Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import {
  startEdgeRedis,
  startFixture,
  startFixtureOrigin,
  until,
  viewerToken,
  type EdgeRedis,
  type Fixture,
} from "./testing.ts";

let redis: EdgeRedis;
/** Every request for the feed is one to the origin. */
let uncached: Record<string, string>;
let fixture: Fixture;
beforeAll(async () => {
  redis = await startEdgeRedis();
  uncached = await redis.vars({ feed: { cached: false } });
  fixture = await startFixture(uncached);
});
afterAll(async () => {
  await fixture.stop();
  await redis.stop();
});

const emptyFeed = { video_list: [], next_time: 0, next_cursor: 0, has_more: false };

/** The feed's answer when the origin fails so. */
async function feedAfter(error: unknown) {
  fixture.origin.answer({
    getFeed() {
      throw error;
    },
  });
  return fixture.call(`/feed/?token=${viewerToken}`);
}

describe("an error of the origin", () => {
  const statuses: Partial<Record<Reason, number>> = {
    [Reason.UNAUTHENTICATED]: 401,
    [Reason.PATH_NOT_FOUND]: 404,
    [Reason.METHOD_NOT_ALLOWED]: 405,
    [Reason.TOO_LARGE]: 413,
    [Reason.UNSUPPORTED_MEDIA_TYPE]: 415,
    [Reason.RATE_LIMITED]: 429,
    [Reason.UNAVAILABLE]: 503,
    [Reason.BUSY]: 503,
    [Reason.TIMEOUT]: 504,
  };
  const reasons = Object.values(Reason).filter((reason) => typeof reason === "number");
  const shown = reasons.filter((reason) => reason !== Reason.UNSPECIFIED && reason !== Reason.INTERNAL);

  test.each(shown.map((reason): [string, Reason] => [Reason[reason], reason]))(
    "with the reason %s keeps its number and its words",
    async (_name, reason) => {
      const { status, headers, json } = await feedAfter(flickError(reason, "words für you 🎬"));
      expect(status).toBe(statuses[reason] ?? 200);
      expect(json).toEqual({ status_code: reason, status_msg: "words für you 🎬", ...emptyFeed });
      expect(headers.get("www-authenticate")).toBe(status === 401 ? "Bearer" : null);
      expect(headers.get("retry-after")).toBe(status === 429 || status === 503 ? "2" : null);
    },
  );

  test("that a newer origin knows and we do not is a business error", async () => {
    const newer = new ConnectError("new", Code.Internal);
    // Field 1 with the varint 99999.
    newer.details.push({ type: ErrorDetailSchema.typeName, value: new Uint8Array([0x08, 0x9f, 0x8d, 0x06]) });
    const { status, json } = await feedAfter(newer);
    expect(status).toBe(200);
    expect(json["status_code"]).toBe(99_999);
  });

  test.each<[string, unknown, number, Reason]>([
    ["INTERNAL", flickError(Reason.INTERNAL, "secret detail"), 500, Reason.INTERNAL],
    ["an unknown exception", new Error("secret detail"), 500, Reason.INTERNAL],
    ["unimplemented", new ConnectError("secret detail", Code.Unimplemented), 500, Reason.INTERNAL],
    ["a data loss", new ConnectError("secret detail", Code.DataLoss), 500, Reason.INTERNAL],
    ["a transport's unavailable", new ConnectError("secret detail", Code.Unavailable), 503, Reason.UNAVAILABLE],
    ["a transport's deadline", new ConnectError("secret detail", Code.DeadlineExceeded), 504, Reason.TIMEOUT],
    [
      "a transport's bad request",
      new ConnectError("secret detail", Code.InvalidArgument),
      200,
      Reason.INVALID_PARAMETER,
    ],
    ["a transport's exhaustion", new ConnectError("secret detail", Code.ResourceExhausted), 503, Reason.BUSY],
  ])("of our own doing (%s) keeps its words to itself", async (_what, error, status, reason) => {
    const answer = await feedAfter(error);
    expect(answer.status).toBe(status);
    expect(answer.json).toEqual({ status_code: reason, status_msg: expect.any(String), ...emptyFeed });
    expect(JSON.stringify(answer.json)).not.toContain("secret");
    if (status === 500) expect(answer.json["status_msg"]).toContain(answer.headers.get("x-request-id") ?? "no id");
  });

  test("is logged under the id that the answer shows, when it is ours", async () => {
    const { headers } = await feedAfter(flickError(Reason.INTERNAL, "what broke"));
    const id = headers.get("x-request-id");
    await until(() => fixture.log.filter((line) => line["request_id"] === id).length === 2);
    expect(fixture.log).toContainEqual(
      expect.objectContaining({
        level: "error",
        message: "request failed",
        route: "/douyin/feed",
        request_id: id,
        error: expect.objectContaining({ message: expect.stringContaining("what broke") }),
      }),
    );
  });
});

describe("an origin", () => {
  test("that answers with a proxy's page counts as unavailable", async () => {
    using proxy = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => new Response("<html>secret</html>", { status: 502, headers: { "content-type": "text/html" } }),
    });
    const broken = await startFixture({ ...uncached, ORIGIN_URL: proxy.url.origin });
    const { status, json } = await broken.call("/feed");
    await broken.stop();
    expect(status).toBe(503);
    expect(json).toEqual({ status_code: 15002, status_msg: expect.not.stringContaining("secret"), ...emptyFeed });
  });

  test("that redirects is not followed", async () => {
    using elsewhere = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => expect.unreachable() });
    using moving = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => Response.redirect(elsewhere.url.href, 307),
    });
    const broken = await startFixture({ ...uncached, ORIGIN_URL: moving.url.origin });
    const { status, json } = await broken.call("/feed");
    await broken.stop();
    expect(status).toBe(500);
    expect(json).toMatchObject({ status_code: 15001, video_list: [] });
  });

  test("that hangs up in the middle of its answer counts as unavailable", async () => {
    const head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: 900\r\n\r\n\0\0\0";
    using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          socket.write(head);
          socket.end();
        },
      },
    });
    const broken = await startFixture({ ...uncached, ORIGIN_URL: `http://127.0.0.1:${server.port}` });
    const { status } = await broken.call("/feed");
    await broken.stop();
    expect(status).toBe(503);
  });

  test("that is down is 503 with an envelope, and comes back without a restart of the gateway", async () => {
    const first = startFixtureOrigin();
    const port = Number(new URL(first.url).port);
    const moved = await startFixture({ ...uncached, ORIGIN_URL: first.url });
    first.answer({ getFeed: () => ({ hasMore: true }) });
    expect((await moved.call("/feed")).status).toBe(200);

    await first.stop();
    for (const path of ["/feed", "/user/login/?username=a&password=b"]) {
      const method = path === "/feed" ? "GET" : "POST";
      const { status, headers, json } = await moved.call(path, { method });
      expect(status).toBe(503);
      expect(headers.get("retry-after")).toBe("2");
      expect(json).toMatchObject({ status_code: 15002, status_msg: expect.stringContaining("try again") });
    }

    const second = startFixtureOrigin(port);
    second.answer({ getFeed: () => ({ hasMore: true }) });
    expect((await moved.call("/feed")).status).toBe(200);
    await moved.stop();
    await second.stop();
  });

  test("that is slower than 5 s is 504, and hears that nobody waits any more", async () => {
    const { promise: canceled, resolve } = Promise.withResolvers<void>();
    let deadline = "";
    fixture.origin.answer({
      async getFeed(_request, { signal, requestHeader }) {
        deadline = requestHeader.get("grpc-timeout") ?? "";
        signal.addEventListener("abort", () => resolve());
        await canceled;
        return {};
      },
    });
    const started = performance.now();
    const { status, json } = await fixture.call("/feed");
    const seconds = (performance.now() - started) / 1000;
    expect(status).toBe(504);
    expect(json).toEqual({ status_code: 15003, status_msg: expect.any(String), ...emptyFeed });
    expect(seconds).toBeWithin(4.5, 7);
    expect(deadline).toBe("5000m");
    await canceled;
  });

  test("hears when the client goes away", async () => {
    const { promise: canceled, resolve } = Promise.withResolvers<void>();
    const { promise: called, resolve: call } = Promise.withResolvers<void>();
    fixture.origin.answer({
      async getFeed(_request, { signal }) {
        call();
        signal.addEventListener("abort", () => resolve());
        await canceled;
        return {};
      },
    });
    const client = new AbortController();
    const answer = fixture.call("/feed", { signal: client.signal }).catch(() => "gone");
    await called;
    const started = performance.now();
    client.abort();
    await canceled;
    expect(await answer).toBe("gone");
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe("a request", () => {
  test("to an unknown path is 404 with an envelope", async () => {
    for (const path of ["/", "/feed/x", "/feed//", "//feed", "/FEED", "/user/registers", "/%", "/%ff", "/..%2f"]) {
      const { status, json } = await fixture.call(path);
      expect(status).toBe(404);
      expect(json).toEqual({ status_code: 10006, status_msg: expect.any(String) });
    }
    for (const path of ["", "/", "/douyin", "/favicon.ico"]) {
      expect((await fetch(fixture.gateway.url + path)).status).toBe(404);
    }
  });

  test.each([
    ["POST", "/feed", "GET, HEAD, OPTIONS"],
    ["DELETE", "/feed/", "GET, HEAD, OPTIONS"],
    ["GET", "/user/register/", "POST, OPTIONS"],
    ["HEAD", "/user/login", "POST, OPTIONS"],
    ["PUT", "/publish/action/", "POST, OPTIONS"],
    ["PROPFIND", "/publish/list/", "GET, HEAD, OPTIONS"],
  ])("with the method %s to %s is 405 and says what is allowed", async (method, path, allow) => {
    const response = await fetch(`${fixture.gateway.url}/douyin${path}`, { method, redirect: "manual" });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe(allow);
    if (method !== "HEAD")
      expect(await response.json()).toMatchObject({ status_code: 10007, status_msg: expect.any(String) });
  });

  test("with the method HEAD gets the headers of a GET", async () => {
    fixture.origin.answer({ getFeed: () => ({}) });
    const response = await fetch(`${fixture.gateway.url}/douyin/feed/`, { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toStartWith("application/json");
    expect(await response.text()).toBe("");
  });

  test("from a web app of another origin is welcome, without credentials", async () => {
    const preflight = await fetch(`${fixture.gateway.url}/douyin/publish/action/`, {
      method: "OPTIONS",
      headers: {
        origin: "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,last-event-id",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-methods")).toContain("POST");
    expect(preflight.headers.get("access-control-allow-headers")).toBe("authorization,content-type,last-event-id");
    expect(preflight.headers.get("access-control-allow-credentials")).toBeNull();
    for (const path of ["/feed?count=x", "/nothing", "/user/register"]) {
      const { headers } = await fixture.call(path, { headers: { origin: "https://app.example" } });
      expect(headers.get("access-control-allow-origin")).toBe("*");
      expect(headers.get("access-control-expose-headers")).toContain("x-request-id");
    }
  });

  test("gets safe headers and an id of the gateway's making, which the origin sees too", async () => {
    const seen: unknown[] = [];
    fixture.origin.answer({
      getFeed(_request, { requestHeader }) {
        seen.push(requestHeader.get("x-request-id"));
        return {};
      },
    });
    const { headers } = await fixture.call("/feed", { headers: { "x-request-id": "forged" } });
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(seen).toEqual([headers.get("x-request-id")]);
  });

  test("does not smuggle its own headers to the origin", async () => {
    let seen = new Headers();
    fixture.origin.answer({
      getFeed(_request, { requestHeader }) {
        seen = requestHeader;
        return {};
      },
    });
    await fixture.call("/feed", {
      headers: { "x-flick-service-token": "forged", cookie: "a=b", "grpc-timeout": "1n" },
    });
    expect([seen.get("x-flick-service-token"), seen.get("cookie"), seen.get("grpc-timeout")]).toEqual([
      null,
      null,
      "5000m",
    ]);
  });

  test("leaves one line in the log, without its query, its token, its password or its unknown path", async () => {
    fixture.origin.answer({
      login: () => Promise.reject(new Error("broken")),
      getFeed: () => Promise.reject(flickError(Reason.BUSY, "busy")),
    });
    const headers = { authorization: "Bearer s3cret-header" };
    const answers = [
      await fixture.call("/user/login/?username=s3cret-name&password=s3cret-word", { method: "POST", headers }),
      await fixture.call("/feed?token=s3cret-query"),
      await fixture.call("/s3cret-path"),
    ];
    // Lines of the tests before may still be on their way.
    const ids = answers.map((answer) => answer.headers.get("x-request-id"));
    const linesOf = (id: string | null) =>
      fixture.log.filter((line) => line["message"] === "request" && line["request_id"] === id);
    await until(() => ids.every((id) => linesOf(id).length > 0));
    const lines = ids.flatMap(linesOf);
    expect(lines.map(({ level, method, route, status }) => [level, method, route, status])).toEqual([
      ["info", "POST", "/douyin/user/login", 500],
      ["info", "GET", "/douyin/feed", 401],
      ["info", "GET", "unmatched", 404],
    ]);
    expect(lines[0]).toEqual({
      time: expect.any(String),
      level: "info",
      program: "edge-gateway",
      message: "request",
      method: "POST",
      route: "/douyin/user/login",
      status: 500,
      ms: expect.any(Number),
      request_id: expect.any(String),
    });
    expect(JSON.stringify(fixture.log)).not.toContain("s3cret");
  });

  test("for health asks nobody", async () => {
    for (const path of ["/healthz", "/healthz/"]) {
      const response = await fetch(fixture.gateway.url + path);
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({ status_code: 0, status_msg: "success" });
    }
  });
});
