import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { startFixture, until, type Fixture, viewerToken } from "../testing.ts";

setDefaultTimeout(30_000);

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.stop());

function answerSend(): { toUserId: bigint; content: string; authorization: string | null }[] {
  const asked: { toUserId: bigint; content: string; authorization: string | null }[] = [];
  fixture.origin.answer({
    sendMessage({ toUserId, content }, { requestHeader }) {
      asked.push({ toUserId, content, authorization: requestHeader.get("authorization") });
      return {};
    },
  });
  return asked;
}

describe("/message/action", () => {
  test("sends", async () => {
    const asked = answerSend();
    for (const path of ["/message/action", "/message/action/"]) {
      const { status, json } = await fixture.call(
        `${path}?token=${viewerToken}&to_user_id=1.2e%2B01&action_type=1&content=hi%20%F0%9F%91%8B`,
        { method: "POST" },
      );
      expect(status).toBe(200);
      expect(json).toEqual({ status_code: 0, status_msg: "success" });
    }
    const each = { toUserId: 12n, content: "hi 👋", authorization: `Bearer ${viewerToken}` };
    expect(asked).toEqual([each, each]);
  });

  test.each([
    ["to_user_id", "action_type=1&content=a"],
    ["to_user_id", "action_type=1&content=a&to_user_id=0"],
    ["to_user_id", "action_type=1&content=a&to_user_id=9223372036854775808"],
    ["action_type", "to_user_id=1&content=a"],
    ["action_type", "to_user_id=1&content=a&action_type=0"],
    ["action_type", "to_user_id=1&content=a&action_type=2"],
    ["content", "to_user_id=1&action_type=1"],
    ["content", "to_user_id=1&action_type=1&content="],
  ])("names a bad %s: %s", async (name, query) => {
    const asked = answerSend();
    const { status, json } = await fixture.call(`/message/action/?token=${viewerToken}&${query}`, { method: "POST" });
    expect(status).toBe(200);
    expect(json).toEqual({ status_code: Reason.INVALID_PARAMETER, status_msg: expect.stringContaining(name) });
    expect(asked).toEqual([]);
  });

  test("takes the longest message, in any way of writing it", async () => {
    const asked = answerSend();
    const content = "鱼".repeat(1000);
    const body = new URLSearchParams({ token: viewerToken, to_user_id: "1", action_type: "1", content });
    await fixture.call("/message/action/", { method: "POST", body });
    expect(asked[0]?.content).toBe(content);
  });
});

function answerChat() {
  const asked: { peerId: bigint; afterMs: bigint; cursor: bigint; count: number }[] = [];
  fixture.origin.answer({
    listMessages({ peerId, afterMs, cursor, count }) {
      asked.push({ peerId, afterMs, cursor, count });
      return {
        messages: [{ id: 5n, fromUserId: 1n, toUserId: 2n, content: "hi", createTime: 1_790_000_000_123n }],
        nextCursor: 1_790_000_000_123n,
        hasMore: true,
      };
    },
  });
  return asked;
}

describe("/message/chat", () => {
  test("answers the Message objects", async () => {
    answerChat();
    for (const path of ["/message/chat", "/message/chat/"]) {
      const { json } = await fixture.call(`${path}?token=${viewerToken}&to_user_id=2`);
      expect(json).toEqual({
        status_code: 0,
        status_msg: "success",
        message_list: [{ id: 5, from_user_id: 1, to_user_id: 2, content: "hi", create_time: 1_790_000_000_123 }],
        next_cursor: 1_790_000_000_123,
        has_more: true,
      });
    }
  });

  test.each<[string, { afterMs?: bigint; cursor?: bigint; count?: number }]>([
    ["", {}],
    ["pre_msg_time=", {}],
    ["pre_msg_time=0", {}],
    ["pre_msg_time=1790000000123", { afterMs: 1_790_000_000_123n }],
    ["pre_msg_time=1.790000000123e%2B12", { afterMs: 1_790_000_000_123n }],
    ["cursor=1790000000123&count=501", { cursor: 1_790_000_000_123n, count: 500 }],
    ["pre_msg_time=5&cursor=9", { afterMs: 9n, cursor: 9n }],
    ["pre_msg_time=9&cursor=5", { afterMs: 9n, cursor: 5n }],
  ])("asks for the page of %p", async (query, expected) => {
    const asked = answerChat();
    await fixture.call(`/message/chat/?token=${viewerToken}&to_user_id=2&${query}`);
    expect(asked).toEqual([{ peerId: 2n, afterMs: 0n, cursor: 0n, count: 0, ...expected }]);
  });

  test.each([
    ["to_user_id", ""],
    ["to_user_id", "to_user_id=0"],
    ["to_user_id", "to_user_id=-1"],
    ["pre_msg_time", "to_user_id=1&pre_msg_time=-1"],
    ["pre_msg_time", "to_user_id=1&pre_msg_time=yesterday"],
    ["pre_msg_time", "to_user_id=1&pre_msg_time=9223372036854775808"],
    ["cursor", "to_user_id=1&cursor=x"],
  ])("names a bad %s: %p", async (name, query) => {
    const asked = answerChat();
    const { status, json } = await fixture.call(`/message/chat/?token=${viewerToken}&${query}`);
    expect(status).toBe(200);
    expect(json).toEqual({
      status_code: 10001,
      status_msg: expect.stringContaining(name),
      message_list: [],
      next_cursor: 0,
      has_more: false,
    });
    expect(asked).toEqual([]);
  });
});

/** A stream of the origin's that the test writes to. */
function answerStream() {
  const asked: { query: string; authorization: string | null; requestId: string | null }[] = [];
  const { promise: writer, resolve } = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
  let cancelled = false;
  fixture.origin.answer({
    stream(request) {
      asked.push({
        query: new URL(request.url).search,
        authorization: request.headers.get("authorization"),
        requestId: request.headers.get("x-request-id"),
      });
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(new TextEncoder().encode(": connected\n\n"));
          resolve(controller);
        },
        cancel: () => void (cancelled = true),
      });
      return new Response(body, { headers: { "content-type": "text/event-stream" } });
    },
  });
  return { asked, writer, cancelled: () => cancelled };
}

const openStream = (query: string, init: RequestInit = {}) =>
  fetch(`${fixture.gateway.url}/douyin/message/stream${query}`, { keepalive: false, ...init });

describe("/message/stream", () => {
  test("passes events on as they come, and ends when its client goes", async () => {
    const { asked, writer, cancelled } = answerStream();
    const abort = new AbortController();
    const response = await openStream(`/?token=${viewerToken}`, { signal: abort.signal });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader?.read())?.value).toBe(": connected\n\n");
    for (const event of ["id: 1\ndata: {}\n\n", "id: 2\ndata: {}\n\n"]) {
      (await writer).enqueue(new TextEncoder().encode(event));
      expect((await reader?.read())?.value).toBe(event);
    }
    expect(asked).toEqual([
      { query: "", authorization: `Bearer ${viewerToken}`, requestId: expect.stringMatching(/.{36}/) },
    ]);
    abort.abort();
    await until(cancelled);
  });

  test.each<[string, Record<string, string>, string]>([
    [`?token=${viewerToken}&to_user_id=1.2e%2B01&since=1790000000123`, {}, "?peer_id=12&since=1790000000123"],
    [`?token=${viewerToken}&since=5`, { "last-event-id": "7-a-b" }, "?since=7-a-b"],
    [`?token=${viewerToken}&to_user_id=0`, {}, ""],
  ])("asks the origin for what %s means", async (query, headers, expected) => {
    const { asked, writer } = answerStream();
    const response = await openStream(query, { headers });
    (await writer).close();
    await response.text();
    expect(asked.map((each) => each.query)).toEqual([expected]);
  });

  test.each([
    [Reason.UNAUTHENTICATED, 401],
    [Reason.INVALID_PARAMETER, 200],
    [Reason.RATE_LIMITED, 429],
    [Reason.BUSY, 503],
  ])("answers a refusal with the envelope of reason %d", async (reason, status) => {
    const error = flickError(reason, "since: not so");
    fixture.origin.answer({
      stream: () => Response.json(errorToJson(error, undefined), { status: codeToHttpStatus(error.code) }),
    });
    const answer = await fixture.call(`/message/stream/?token=${viewerToken}`);
    expect(answer.status).toBe(status);
    expect(answer.json).toEqual({ status_code: reason, status_msg: "since: not so" });
  });

  test("says that an origin that cannot answer is away", async () => {
    fixture.origin.answer({ stream: () => new Response("bad gateway", { status: 502 }) });
    expect((await fixture.call(`/message/stream/?token=${viewerToken}`)).status).toBe(503);
  });

  test("refuses a bad to_user_id by name", async () => {
    const { json } = await fixture.call(`/message/stream/?token=${viewerToken}&to_user_id=x`);
    expect(json).toEqual({ status_code: 10001, status_msg: expect.stringContaining("to_user_id") });
  });

  test("opens nothing for a HEAD", async () => {
    const { asked } = answerStream();
    const response = await openStream(`?token=${viewerToken}`, { method: "HEAD" });
    expect(response.headers.get("content-type")).toStartWith("text/event-stream");
    expect(asked).toEqual([]);
  });
});
