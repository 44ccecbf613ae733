import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "node:net";

import { Code, ConnectError } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import {
  startFixtureOrigin,
  startFixtureStore,
  until,
  viewerToken,
  type FixtureOrigin,
  type FixtureStore,
} from "./testing.ts";
import { runtimes, type RunningGateway } from "./testing-runtimes.ts";

setDefaultTimeout(60_000);

const maxUploadBytes = 20_000_000;

describe.each(runtimes)("on %s the gateway", (name, runtime) => {
  if (!runtime) return test.skip("is not tried, because there is none for this system", () => {});
  const start = runtime;
  let origin: FixtureOrigin;
  let store: FixtureStore;
  let gateway: RunningGateway;
  beforeAll(async () => {
    origin = startFixtureOrigin();
    store = startFixtureStore();
    gateway = await start({ ORIGIN_URL: origin.url, MAX_UPLOAD_BYTES: String(maxUploadBytes) });
  });
  afterAll(async () => {
    await gateway.stop();
    await origin.stop();
    await store.stop();
  });

  const call = (path: string, init: RequestInit = {}) =>
    fetch(gateway.url + path, { keepalive: false, redirect: "manual", ...init });
  const jsonOf = async (answer: Promise<Response>) => (await (await answer).json()) as Record<string, unknown>;
  const form = (file: Uint8Array<ArrayBuffer>) => {
    const body = new FormData();
    body.append("title", "a title");
    body.append("data", new Blob([file]), "clip.mp4");
    return body;
  };

  test("says that it is there", async () => {
    const answer = await call("/healthz");
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ status_code: 0, status_msg: "success" });
  });

  test("answers with headers that keep browsers safe, and with an id of its own", async () => {
    const { headers } = await call("/healthz", { headers: { "x-request-id": "mine" } });
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers.get("strict-transport-security")).toBeNull();
  });

  test("asks the origin for a list, and hands the token, the deadline and the request's id on", async () => {
    let seen: Headers | undefined;
    origin.answer({
      listPublished(_request, { requestHeader }) {
        seen = requestHeader;
        return { videos: [{ id: 9_007_199_254_740_991n, title: "🎬" }], nextCursor: 7n, hasMore: true };
      },
    });
    const answer = await call(`/douyin/publish/list/?user_id=5&token=${viewerToken}`);
    const json = (await answer.json()) as { video_list: object[]; next_cursor: number };
    expect(json.video_list[0]).toMatchObject({ id: 9_007_199_254_740_991, title: "🎬" });
    expect(json.next_cursor).toBe(7);
    expect(seen?.get("grpc-timeout")).toMatch(/^\d+m$/);
    expect(seen?.get("authorization")).toBe(`Bearer ${viewerToken}`);
    expect(seen?.get("x-request-id")).toBe(answer.headers.get("x-request-id"));
  });

  test.each<[string, RequestInit]>([
    ["?username=a&password=secret1", {}],
    ["", { body: new URLSearchParams({ username: "a", password: "secret1" }) }],
    ["", { body: '{"username":"a","password":"secret1"}', headers: { "content-type": "application/json" } }],
  ])("signs in, by query, form and JSON (%#)", async (query, init) => {
    origin.answer({ login: ({ username, password }) => ({ userId: 3n, token: `${username} ${password}` }) });
    const json = await jsonOf(call(`/douyin/user/login/${query}`, { method: "POST", ...init }));
    expect(json).toEqual({ status_code: 0, status_msg: "success", user_id: 3, token: "a secret1" });
  });

  test("turns errors into the envelope", async () => {
    origin.answer({
      login() {
        throw flickError(Reason.WRONG_CREDENTIALS, "No such name and password.");
      },
    });
    const path = "/douyin/user/login/?username=a&password=secret1";
    const json = await jsonOf(call(path, { method: "POST" }));
    expect(json).toEqual({
      status_code: Reason.WRONG_CREDENTIALS,
      status_msg: "No such name and password.",
      user_id: 0,
      token: "",
    });
    expect((await call("/douyin/nothing")).status).toBe(404);
    expect((await call(path)).status).toBe(405);
    expect((await call("/douyin/feed/?latest_time=x")).status).toBe(200);
  });

  test("says that an origin which breaks off cannot be reached", async () => {
    origin.answer({
      publish() {
        throw new ConnectError("gone", Code.Unavailable);
      },
      admitVideo: () => store.admit("raw/1"),
    });
    const answer = await call(`/douyin/publish/action/?token=${viewerToken}`, {
      method: "POST",
      body: form(new Uint8Array(10)),
    });
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("2");
  });

  test("stores a file while it still comes, and nothing of one that breaks off", async () => {
    const file = Buffer.alloc(6_000_000, "\r\n--b flick\r\n--");
    crypto.getRandomValues(file.subarray(100_000, 160_000));
    for (const whole of [true, false]) {
      origin.answer({
        admitVideo: () => store.admit(`raw/${whole}`),
        publish: ({ title }) => ({ videoId: title === "你好" ? 5n : 0n }),
      });
      const body = Buffer.concat([
        Buffer.from(
          '--bcd\r\ncontent-disposition: form-data; name="title"\r\ncontent-type: text/plain; charset=gbk\r\n\r\n\xc4\xe3\xba\xc3\r\n' +
            '--bcd\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n',
          "latin1",
        ),
        file,
        Buffer.from("\r\n--bcd--\r\n"),
      ]);
      const { hostname, port } = new URL(gateway.url);
      const socket = connect(Number(port), hostname);
      let answer = "";
      socket.on("data", (data: Buffer) => (answer += data.toString()));
      socket.on("error", () => {});
      socket.write(
        `POST /douyin/publish/action/?token=${viewerToken} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n` +
          `content-type: multipart/form-data; boundary=bcd\r\ncontent-length: ${body.length}\r\n\r\n`,
      );
      const before = store.taken();
      socket.write(body.subarray(0, 1_000_000));
      await until(() => store.taken() > before + 500_000);
      if (whole) socket.write(body.subarray(1_000_000));
      else socket.destroy();
      await until(() => (whole ? answer.includes('"video_id":5') : store.seen.includes("cut raw/false")));
      socket.destroy();
    }
    const hash = new Bun.CryptoHasher("sha256").update(file).digest("hex");
    expect(store.objects.get("raw/true")).toMatchObject({ bytes: file.length, hash });
    expect(store.objects.has("raw/false")).toBe(false);
  });

  test("refuses what is too long, with the envelope", async () => {
    const tooLarge = { status_code: Reason.TOO_LARGE };
    const file = form(new Uint8Array(maxUploadBytes + 100_000));
    const upload = await call(`/douyin/publish/action/?token=${viewerToken}`, { method: "POST", body: file });
    expect([upload.status, await upload.json()]).toMatchObject([413, tooLarge]);
    const body = new URLSearchParams({ username: "a".repeat(200_000), password: "secret1" });
    const small = await call("/douyin/user/login/", { method: "POST", body });
    expect([small.status, await small.json()]).toMatchObject([413, tooLarge]);
    const url = await call(`/douyin/feed/?x=${"x".repeat(8_200)}`);
    expect([url.status, await url.json()]).toMatchObject([414, tooLarge]);
    const headers = await call("/douyin/feed/", { headers: { "x-long": "x".repeat(6_200) } });
    expect([headers.status, await headers.json()]).toMatchObject([431, tooLarge]);
  });

  test("passes a stream of events on as they come, and its end", async () => {
    const encoder = new TextEncoder();
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
    let ended = false;
    origin.answer({
      stream: () =>
        new Response(
          new ReadableStream<Uint8Array>({
            start: (started) => void (controller = started),
            cancel: () => void (ended = true),
          }),
          { headers: { "content-type": "text/event-stream" } },
        ),
    });
    const leaving = new AbortController();
    const answering = call(`/douyin/message/stream?token=${viewerToken}`, { signal: leaving.signal });
    await until(() => controller !== undefined);
    controller?.enqueue(encoder.encode(": hello\n\n"));
    const answer = await answering;
    expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader?.read())?.value).toBe(": hello\n\n");
    controller?.enqueue(encoder.encode("data: {}\n\n"));
    expect((await reader?.read())?.value).toBe("data: {}\n\n");
    leaving.abort();
    await reader?.cancel().catch(() => {});
    await until(() => ended);
  });

  test("answers HEAD as GET without a body, and a browser's question whether it may call", async () => {
    origin.answer({ getFeed: () => ({}) });
    const head = await call("/douyin/feed/", { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    const preflight = await call("/douyin/user/login/", {
      method: "OPTIONS",
      headers: { origin: "https://app.example", "access-control-request-method": "POST" },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-methods")).toContain("POST");
  });

  test("describes itself, and serves the page that shows it", async () => {
    expect(await jsonOf(call("/openapi.json"))).toMatchObject({ openapi: "3.1.1" });
    expect((await call("/docs")).headers.get("content-type")).toStartWith("text/html");
    const script = await call("/docs/page.js");
    expect(script.headers.get("content-type")).toStartWith("text/javascript");
    expect(await script.text()).toContain("import ");
  });

  test("counts requests by where they come from, as its surroundings say it and not its client", async () => {
    const header = name === "workerd" ? "cf-connecting-ip" : "x-real-ip";
    const settings = { ORIGIN_URL: origin.url, MAX_UPLOAD_BYTES: "5000", IP_LIMIT_FACTOR: "1" };
    const limited = await start({ ...settings, ...(name === "workerd" ? {} : { CLIENT_ADDRESS_HEADER: header }) });
    origin.answer({ login: () => ({ userId: 3n, token: "t" }) });
    const login = async (address: string) => {
      const answer = await fetch(`${limited.url}/douyin/user/login/?username=a&password=secret1`, {
        method: "POST",
        headers: { [header]: address, "x-forwarded-for": crypto.randomUUID() },
      });
      await answer.text();
      return answer.status;
    };
    let status = 200;
    for (let calls = 0; calls < 100 && status === 200; calls++) status = await login("203.0.113.1");
    expect(status).toBe(429);
    expect(await login("203.0.113.2")).toBe(200);
    await limited.stop();
  });

  test("does not start with bad bindings, and names them but not their values", async () => {
    const problem: unknown = await start({ ORIGIN_URL: "ftp://hidden", MAX_UPLOAD_BYTES: "many" }).catch(
      (error: unknown) => error,
    );
    const said = String(problem);
    for (const binding of ["ORIGIN_URL must be", "MAX_UPLOAD_BYTES must be"]) expect(said).toContain(binding);
    for (const value of ["hidden", "many"]) expect(said).not.toContain(value);
  });

  test.skipIf(name === "workerd")("ends when it is asked to, after what is at work", async () => {
    const other = await start({ ORIGIN_URL: origin.url, MAX_UPLOAD_BYTES: "5000" });
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    origin.answer({
      async getFeed() {
        resolve();
        await Bun.sleep(300);
        return { nextBeforeMs: 8n };
      },
    });
    const last = jsonOf(fetch(`${other.url}/douyin/feed/`, { keepalive: false }));
    await asked;
    await other.stop();
    expect(await last).toMatchObject({ next_time: 8 });
    expect(await fetch(`${other.url}/healthz`).catch(() => "gone")).toBe("gone");
  });
});
