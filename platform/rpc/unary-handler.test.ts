import { afterAll, beforeEach, describe, expect, test } from "bun:test";

import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { SetFavoriteRequestSchema } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { BatchGetUsersRequestSchema } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import { compressedFlag, messageFlags, readFrames, trailerFlag, writeFrames, type Frame } from "./frames.ts";
import { createTestServices, maxCallMs, maxMessageBytes, serveServices, until } from "./testing.ts";

const services = createTestServices();
const server = serveServices(services);
afterAll(() => server.stop());

let calls = 0;
beforeEach(() => {
  calls = 0;
  server.faults.length = 0;
  services.answer({ setFavorite: () => (calls++, {}), batchGetUsers: () => (calls++, {}) });
});

const path = "/flick.favorite.v1.FavoriteService/SetFavorite";
const payload = toBinary(SetFavoriteRequestSchema, create(SetFavoriteRequestSchema, { videoId: 5n, favorite: true }));
const message: Frame = { flags: messageFlags, payload };
const type = "application/grpc-web+proto";

function post(body: Bun.BodyInit | null, headers: Record<string, string> = {}, to = path): Promise<Response> {
  return fetch(server.url + to, { method: "POST", body, headers: { "content-type": type, ...headers } });
}

/** The frames of an answer, its trailers as text. */
async function read(response: Response): Promise<{ messages: Uint8Array[]; trailers: string | undefined }> {
  const frames = readFrames(await response.bytes(), 3, Code.Internal);
  const trailers = frames.find(({ flags }) => flags === trailerFlag);
  return {
    messages: frames.filter(({ flags }) => flags === messageFlags).map((frame) => frame.payload),
    trailers: trailers && new TextDecoder().decode(trailers.payload),
  };
}

test("answers with one message and the trailers, in one body of known length", async () => {
  const response = await post(writeFrames(message));
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe(type);
  expect(response.headers.get("content-length")).not.toBeNull();
  expect(await read(response)).toEqual({ messages: [new Uint8Array()], trailers: "grpc-status: 0\r\n" });
});

describe("a request that breaks the protocol is refused before the handler", () => {
  const long = { flags: messageFlags, payload: new Uint8Array(maxMessageBytes + 1) };
  const cases: [string, Bun.BodyInit | null, Record<string, string>, Code, string][] = [
    ["no body", null, {}, Code.Unimplemented, "has a message"],
    ["an empty body", "", {}, Code.Unimplemented, "has a message"],
    ["two messages", writeFrames(message, message), {}, Code.Unimplemented, "one message"],
    ["many empty messages", new Uint8Array(maxMessageBytes), {}, Code.Unimplemented, "one message"],
    ["half a head", writeFrames(message).subarray(0, 3), {}, Code.InvalidArgument, "ends within a frame"],
    ["half a message", writeFrames(message).subarray(0, 7), {}, Code.InvalidArgument, "ends within a frame"],
    [
      "bytes after the message",
      Buffer.concat([writeFrames(message), Buffer.from("x")]),
      {},
      Code.InvalidArgument,
      "ends within a frame",
    ],
    ["a length of 4 GiB", new Uint8Array([0, 255, 255, 255, 255, 1]), {}, Code.InvalidArgument, "ends within a frame"],
    [
      "what is no message",
      writeFrames({ flags: messageFlags, payload: new Uint8Array([255, 255]) }),
      {},
      Code.InvalidArgument,
      "is not a flick.favorite.v1.SetFavoriteRequest",
    ],
    ["trailers", writeFrames({ flags: trailerFlag, payload }), {}, Code.InvalidArgument, "no trailers"],
    [
      "a message and trailers",
      writeFrames(message, { flags: trailerFlag, payload }),
      {},
      Code.InvalidArgument,
      "no trailers",
    ],
    ["an unknown flag", writeFrames({ flags: 2, payload }), {}, Code.InvalidArgument, "no trailers"],
    [
      "a compressed message",
      writeFrames({ flags: compressedFlag, payload }),
      {},
      Code.Internal,
      "without grpc-encoding",
    ],
    [
      "a compression",
      writeFrames({ flags: compressedFlag, payload }),
      { "grpc-encoding": "gzip" },
      Code.Unimplemented,
      "compressed",
    ],
    ["a time in words", writeFrames(message), { "grpc-timeout": "soon" }, Code.InvalidArgument, "grpc-timeout"],
    [
      "a time of 9 digits",
      writeFrames(message),
      { "grpc-timeout": "123456789m" },
      Code.InvalidArgument,
      "grpc-timeout",
    ],
    ["a time that is over", writeFrames(message), { "grpc-timeout": "0n" }, Code.DeadlineExceeded, "timed out"],
    ["a message that is too long", writeFrames(long), {}, Code.ResourceExhausted, `at most ${maxMessageBytes} bytes`],
    ["one far too long", new Uint8Array(20_000_000), {}, Code.ResourceExhausted, `at most ${maxMessageBytes} bytes`],
  ];
  test.each(cases)("%s", async (_name, body, headers, code, words) => {
    const response = await post(body, headers);
    expect(response.status).toBe(200);
    const { messages, trailers = "" } = await read(response);
    expect(messages).toEqual([]);
    expect(trailers).toContain(`grpc-status: ${code}\r\n`);
    expect(decodeURIComponent(/grpc-message: (.*)\r\n/.exec(trailers)?.[1] ?? "")).toContain(words);
    expect([calls, server.faults]).toEqual([0, []]);
    // The server is well, and so is the connection if there still is one.
    expect((await read(await post(writeFrames(message)))).trailers).toBe("grpc-status: 0\r\n");
  });

  test("a message that is too long and comes in pieces of unknown number", async () => {
    let sent = 0;
    const endless = new ReadableStream({
      async pull(controller) {
        controller.enqueue(new Uint8Array(1_000));
        sent += 1_000;
        await Bun.sleep(1);
        if (sent > 10_000_000) controller.close();
      },
    });
    const { trailers } = await read(await post(endless));
    expect(trailers).toContain(`grpc-status: ${Code.ResourceExhausted}\r\n`);
    expect(sent).toBeLessThan(5_000_000);
  });

  test("a body that never ends, at the call's deadline", async () => {
    const socket = await open();
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ngrpc-timeout: 50m\r\ncontent-length: 12\r\n\r\nabc`,
    );
    await until(() => socket.received().includes("grpc-status"));
    expect(socket.received()).toContain(`grpc-status: ${Code.DeadlineExceeded}\r\n`);
    socket.close();
  });
});

test("the longest message and one that comes in pieces are read", async () => {
  let ids = 0;
  services.answer({ batchGetUsers: ({ userIds }) => ((ids = userIds.length), {}) });
  // Three bytes for the field's head and length, then a byte for each id.
  const userIds = Array.from({ length: maxMessageBytes - 3 }, () => 1n);
  const longest = toBinary(BatchGetUsersRequestSchema, create(BatchGetUsersRequestSchema, { userIds }));
  expect(longest.byteLength).toBe(maxMessageBytes);
  const body = writeFrames({ flags: messageFlags, payload: longest });
  const pieces = new ReadableStream({
    start(controller) {
      for (let at = 0; at < body.byteLength; at += 7) controller.enqueue(body.subarray(at, at + 7));
      controller.close();
    },
  });
  for (const sent of [body, pieces]) {
    ids = 0;
    const { trailers } = await read(await post(sent, {}, "/flick.user.v1.UserService/BatchGetUsers"));
    expect([trailers, ids]).toEqual(["grpc-status: 0\r\n", userIds.length]);
  }
});

test.each([
  ["application/grpc-web", 200],
  ["application/grpc-web+proto", 200],
  ["Application/GRPC-Web+Proto; charset=utf-8", 200],
  ["application/grpc-web+json", 200],
  ["application/grpc-web-text", 415],
  ["application/grpc-web+foo", 415],
  ["application/grpc-webbed", 415],
  ["application/grpc", 415],
  ["application/json", 415],
  ["text/plain", 415],
  ["", 415],
])("the media type %p is answered with %d", async (contentType, status) => {
  const json = contentType.endsWith("json");
  const sent = json
    ? writeFrames({ flags: messageFlags, payload: Buffer.from('{"videoId":"5"}') })
    : writeFrames(message);
  const response = await post(sent, { "content-type": contentType });
  expect(response.status).toBe(status);
  await response.arrayBuffer();
  expect(calls).toBe(status === 200 ? 1 : 0);
});

test.each(["GET", "PUT", "DELETE", "OPTIONS"])("%s is answered with 405", async (method) => {
  const response = await fetch(server.url + path, { method, headers: { "content-type": type } });
  expect([response.status, response.headers.get("allow"), calls]).toEqual([405, "POST", 0]);
});

test.each([
  ["1H", maxCallMs],
  ["99999999H", maxCallMs],
  ["1M", maxCallMs],
  ["1S", 1_000],
  ["700m", 700],
  ["700000u", 700],
  ["99999999n", 100],
  [undefined, maxCallMs],
])("a call with the timeout %p has %d ms at most", async (timeout, ms) => {
  let left: number | undefined;
  services.answer({ setFavorite: (_request, context) => ((left = context.timeoutMs()), {}) });
  await post(writeFrames(message), timeout === undefined ? {} : { "grpc-timeout": timeout });
  expect(left).toBeWithin(ms / 2, ms + 1);
});

test("names of metadata are not taken for properties", async () => {
  let seen = new Headers();
  services.answer({ setFavorite: (_request, { requestHeader }) => ((seen = requestHeader), {}) });
  await post(writeFrames(message), { __proto__x: "1", constructor: "2" });
  expect([seen.get("__proto__x"), seen.get("constructor")]).toEqual(["1", "2"]);
  expect((await post(writeFrames(message), {}, "/__proto__")).status).toBe(404);
  expect((await post(writeFrames(message), {}, "/constructor")).status).toBe(404);
});

test("an error's message cannot write trailers of its own, whatever is in it", async () => {
  const words = "a\r\ngrpc-status: 0\r\n \ud800 \u0000 %41";
  services.answer({ setFavorite: () => Promise.reject(new ConnectError(words, Code.Aborted)) });
  const { trailers = "" } = await read(await post(writeFrames(message)));
  expect(trailers.split("\r\n")).toHaveLength(3);
  expect(decodeURIComponent(/grpc-message: (.*)/.exec(trailers)?.[1] ?? "")).toBe(words.toWellFormed());
});

test("an answer that cannot be encoded is our fault, and says no more than that", async () => {
  services.answer({ batchGetUsers: () => ({ users: [{ id: "not a number" as unknown as bigint }] }) });
  const body = writeFrames({ flags: messageFlags, payload: new Uint8Array() });
  const { messages, trailers } = await read(await post(body, {}, "/flick.user.v1.UserService/BatchGetUsers"));
  expect(messages).toEqual([]);
  expect(trailers).toContain(`grpc-status: ${Code.Internal}\r\n`);
  expect(trailers).toContain("internal%20error");
  expect(server.faults).toMatchObject([["/flick.user.v1.UserService/BatchGetUsers", expect.any(Error)]]);
});

test("a call that has been answered is not ended at its deadline: its handler may go on", async () => {
  const signals: AbortSignal[] = [];
  services.answer({ setFavorite: (_request, { signal }) => (signals.push(signal), {}) });
  await post(writeFrames(message), { "grpc-timeout": "200m" });
  // This one's deadline comes later.
  services.answer({
    setFavorite: (_request, { signal }) => new Promise((end) => signal.addEventListener("abort", () => end({}))),
  });
  await post(writeFrames(message), { "grpc-timeout": "300m" });
  expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
});

test("a client that goes away ends its call", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  let begun = false;
  services.answer({
    setFavorite(_request, { signal }) {
      begun = true;
      return new Promise(() => signal.addEventListener("abort", () => resolve(signal.reason)));
    },
  });
  const socket = await open();
  const body = Buffer.from(writeFrames(message)).toString("latin1");
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  await until(() => begun);
  socket.close();
  expect(await promise).toMatchObject({ code: Code.Canceled });
});

async function open(): Promise<{ write(text: string): void; received(): string; close(): void }> {
  let received = "";
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(new URL(server.url).port),
    socket: { data: (_socket, data) => void (received += data.toString("latin1")) },
  });
  return {
    write: (text) => void socket.write(Buffer.from(text, "latin1")),
    received: () => received,
    close: () => socket.terminate(),
  };
}
