import { afterAll, describe, expect, test } from "bun:test";

import { create, toBinary } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createClient,
  createContextKey,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import { freePorts } from "@flick/dev/ports.ts";
import { BatchGetUsersResponseSchema, UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import { compressedFlag, messageFlags, trailerFlag, writeFrames, type Frame } from "./frames.ts";
import { createUnaryTransport, type Fetch } from "./unary-transport.ts";

let respond: (request: Request) => Response | Promise<Response> = () => new Response();
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => respond(request) });
afterAll(() => server.stop(true));

const maxAnswerBytes = 2_000;

function clientOf(options: { baseUrl?: string; fetch?: Fetch; interceptors?: Interceptor[]; timeoutMs?: number } = {}) {
  const transport = createUnaryTransport({ baseUrl: server.url.origin, timeoutMs: 20_000, maxAnswerBytes, ...options });
  return createClient(UserService, transport);
}

async function errorOf(call: Promise<unknown>): Promise<ConnectError> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ConnectError)) throw new Error(`no ConnectError: ${String(error)}`);
  return error;
}

const type = { "content-type": "application/grpc-web+proto" };
const payload = toBinary(
  BatchGetUsersResponseSchema,
  create(BatchGetUsersResponseSchema, { users: [{ id: 7n, name: "seven" }] }),
);
const message: Frame = { flags: messageFlags, payload };
const trailers = (text: string): Frame => ({ flags: trailerFlag, payload: new TextEncoder().encode(text) });
const ok = trailers("grpc-status: 0\r\n");
const answer = (frames: Frame[], headers: Record<string, string> = {}, status = 200) =>
  new Response(writeFrames(...frames), { status, headers: { ...type, ...headers } });

describe("an answer is understood", () => {
  const stream = () =>
    new ReadableStream({
      start(controller) {
        for (const byte of writeFrames(message, ok)) controller.enqueue(new Uint8Array([byte]));
        controller.close();
      },
    });
  const cases: [string, () => Response][] = [
    ["as our server writes it", () => answer([message, ok])],
    ["with trailers as others write them", () => answer([message, trailers("GRPC-Status:0\r\nX-Tail: t\r\n")])],
    ["with another success in its status", () => answer([message, ok], {}, 206)],
    [
      "with a media type of other case and parameters",
      () => answer([message, ok], { "content-type": "Application/grpc-web; a=b" }),
    ],
    ["with its encoding named", () => answer([message, ok], { "grpc-encoding": "identity" })],
    ["in pieces", () => new Response(stream(), { headers: type })],
    [
      "compressed by HTTP",
      () => new Response(Bun.gzipSync(writeFrames(message, ok)), { headers: { ...type, "content-encoding": "gzip" } }),
    ],
  ];
  test.each(cases)("%s", async (_name, response) => {
    respond = response;
    expect((await clientOf().batchGetUsers({})).users).toMatchObject([{ id: 7n, name: "seven" }]);
  });
});

describe("an answer that is none is an error", () => {
  const long = { flags: messageFlags, payload: new Uint8Array(maxAnswerBytes) };
  const details = { "grpc-status": "5", "grpc-message": "no%20user", "x-tail": "t" };
  const bomb = Bun.gzipSync(new Uint8Array(1_000_000));
  const cases: [string, () => Response, Code, string][] = [
    [
      "trailers only",
      () => answer([trailers("grpc-status: 5\r\ngrpc-message: no%20user\r\nx-tail: t\r\n")]),
      Code.NotFound,
      "no user",
    ],
    ["trailers after a message", () => answer([message, trailers("grpc-status: 10\r\n")]), Code.Aborted, ""],
    ["trailers in the header", () => answer([], details), Code.NotFound, "no user"],
    [
      "trailers rather than the header",
      () => answer([trailers("grpc-status: 9\r\n")], details),
      Code.FailedPrecondition,
      "",
    ],
    ["an unknown status", () => answer([trailers("grpc-status: 99\r\n")]), Code.Internal, "invalid grpc-status"],
    [
      "a status that is no number",
      () => answer([trailers("grpc-status: abc\r\n")]),
      Code.Internal,
      "invalid grpc-status",
    ],
    [
      "a message that is not well encoded",
      () => answer([trailers("grpc-status: 5\r\ngrpc-message: %E0%A4%A\r\n")]),
      Code.Internal,
      "cannot be read",
    ],
    [
      "details that are not base64",
      () => answer([trailers("grpc-status: 5\r\ngrpc-status-details-bin: !!\r\n")]),
      Code.DataLoss,
      "",
    ],
    [
      "a trailer of no header's name",
      () => answer([trailers("grpc-status: 5\r\nbad name: x\r\n")]),
      Code.Internal,
      "cannot be read",
    ],
    ["trailers without a status", () => answer([message, trailers("x-tail: t\r\n")]), Code.Internal, "missing status"],
    ["no trailers", () => answer([message]), Code.Unknown, "no trailers"],
    ["nothing", () => answer([]), Code.Unknown, "no trailers"],
    ["nothing, and success in the header", () => answer([], { "grpc-status": "0" }), Code.Unimplemented, "no trailers"],
    ["no message", () => answer([ok]), Code.Unimplemented, "no message"],
    ["two messages", () => answer([message, message, ok]), Code.Unimplemented, "more than one message"],
    ["two trailers", () => answer([message, ok, ok]), Code.Internal, "follows the trailers"],
    ["a message after the trailers", () => answer([ok, message]), Code.Internal, "follows the trailers"],
    ["a compressed message", () => answer([{ flags: compressedFlag, payload }, ok]), Code.Internal, "unknown kind"],
    [
      "compressed trailers",
      () => answer([message, { ...ok, flags: trailerFlag | compressedFlag }]),
      Code.Internal,
      "unknown kind",
    ],
    ["an encoding", () => answer([message, ok], { "grpc-encoding": "gzip" }), Code.Internal, "compressed"],
    [
      "what is no message",
      () => answer([{ flags: messageFlags, payload: new Uint8Array([255, 255]) }, ok]),
      Code.Internal,
      "is not a flick.user.v1",
    ],
    [
      "half a body",
      () => new Response(writeFrames(message, ok).subarray(0, 9), { headers: type }),
      Code.Internal,
      "ends within a frame",
    ],
    [
      "an answer that is too long",
      () => answer([long, ok]),
      Code.ResourceExhausted,
      `more than ${maxAnswerBytes} bytes`,
    ],
    [
      "one that is so when unpacked",
      () => new Response(bomb, { headers: { ...type, "content-encoding": "gzip" } }),
      Code.ResourceExhausted,
      `more than ${maxAnswerBytes} bytes`,
    ],
    [
      "JSON messages",
      () => answer([message, ok], { "content-type": "application/grpc-web+json" }),
      Code.Internal,
      "binary",
    ],
    [
      "a page",
      () => new Response("<html>", { headers: { "content-type": "text/html" } }),
      Code.Unknown,
      "not gRPC-web",
    ],
    [
      "another's media type",
      () => answer([message, ok], { "content-type": "application/grpc-webbed" }),
      Code.Unknown,
      "not gRPC-web",
    ],
    ["a redirect", () => Response.redirect("/elsewhere"), Code.Unknown, "HTTP 302"],
  ];
  test.each(cases)("%s", async (_name, response, code, words) => {
    respond = response;
    const error = await errorOf(clientOf().batchGetUsers({}));
    expect([Code[error.code], error.rawMessage]).toEqual([Code[code], expect.stringContaining(words)]);
  });

  test.each([
    [400, Code.Internal],
    [401, Code.Unauthenticated],
    [403, Code.PermissionDenied],
    [404, Code.Unimplemented],
    [408, Code.Unknown],
    [415, Code.Unknown],
    [429, Code.Unavailable],
    [500, Code.Unknown],
    [502, Code.Unavailable],
    [503, Code.Unavailable],
    [504, Code.Unavailable],
  ])("HTTP %d", async (status, code) => {
    respond = () => new Response("a proxy's page", { status, headers: { "content-type": "text/html" } });
    const error = await errorOf(clientOf().batchGetUsers({}));
    expect([Code[error.code], error.rawMessage]).toEqual([Code[code], `HTTP ${status}`]);
  });

  test("and carries the header and the trailers", async () => {
    respond = () => answer([trailers("grpc-status: 5\r\nx-tail: t\r\n")], { "x-head": "h" });
    const { metadata } = await errorOf(clientOf().batchGetUsers({}));
    expect([metadata.get("x-head"), metadata.get("x-tail")]).toEqual(["h", "t"]);
  });
});

test("asks by POST, with its media type and its deadline, at the method's path", async () => {
  let seen: (string | null)[] = [];
  respond = ({ method, url, headers }) => {
    const names = ["content-type", "x-grpc-web", "grpc-timeout", "x-mine"];
    seen = [method, new URL(url).pathname, ...names.map((name) => headers.get(name))];
    return answer([message, ok]);
  };
  const asked = ["POST", "/flick.user.v1.UserService/BatchGetUsers", type["content-type"], "1"];
  await clientOf({ timeoutMs: 4_000 }).batchGetUsers({}, { headers: { "x-mine": "m" } });
  expect(seen).toEqual([...asked, "4000m", "m"]);
  await clientOf().batchGetUsers({}, { timeoutMs: 20 * 3_600_000 });
  expect(seen).toEqual([...asked, "72000000m", null]);
  await clientOf().batchGetUsers({}, { timeoutMs: 0 });
  expect(seen).toEqual([...asked, null, null]);
});

test("calls by the fetch that it is given, which may go elsewhere", async () => {
  respond = () => answer([message, ok]);
  const urls: string[] = [];
  const elsewhere: Fetch = (url, init) => {
    urls.push(url);
    return fetch(url.replace("http://origin", server.url.origin), init);
  };
  const { users } = await clientOf({ baseUrl: "http://origin", fetch: elsewhere }).batchGetUsers({});
  expect(users).toHaveLength(1);
  expect(urls).toEqual(["http://origin/flick.user.v1.UserService/BatchGetUsers"]);
});

test("shows interceptors what fetch throws, and its caller a ConnectError", async () => {
  const [port = 0] = await freePorts(1);
  const seen: unknown[] = [];
  const watch: Interceptor = (next) => (request) =>
    next(request).catch((error: unknown) => {
      seen.push(error);
      throw error;
    });
  const refused = clientOf({ baseUrl: `http://127.0.0.1:${port}`, interceptors: [watch] });
  expect((await errorOf(refused.batchGetUsers({}))).code).toBe(Code.Unknown);
  expect(seen).toHaveLength(1);
  expect(seen[0]).toBeInstanceOf(Error);
  expect(seen[0]).not.toBeInstanceOf(ConnectError);
});

test("does not take a message that cannot be encoded for an outage", async () => {
  const seen: unknown[] = [];
  const watch: Interceptor = (next) => (request) =>
    next(request).catch((error: unknown) => {
      seen.push(error);
      throw error;
    });
  const call = clientOf({ interceptors: [watch] }).batchGetUsers({ userIds: ["x" as unknown as bigint] });
  expect((await errorOf(call)).code).toBe(Code.Internal);
  expect(seen).toEqual([expect.any(ConnectError)]);
});

test("gives interceptors the context values of the call", async () => {
  respond = () => answer([message, ok]);
  const key = createContextKey("none");
  let seen = "";
  const watch: Interceptor = (next) => (request) => {
    seen = request.contextValues.get(key);
    return next(request);
  };
  await clientOf({ interceptors: [watch] }).batchGetUsers(
    {},
    { contextValues: createContextValues().set(key, "mine") },
  );
  expect(seen).toBe("mine");
});

test("does not leave unread what is no answer", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const page = new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(10)),
    cancel: () => resolve(),
  });
  const broken: Fetch = () => Promise.resolve(new Response(page, { status: 503 }));
  expect((await errorOf(clientOf({ fetch: broken }).batchGetUsers({}))).code).toBe(Code.Unavailable);
  await promise;
});

test("gives up at the deadline on an answer that has begun, and lets the server know", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  respond = () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(writeFrames(message)),
        cancel: () => resolve(),
      }),
      { headers: type },
    );
  const error = await errorOf(clientOf({ timeoutMs: 200 }).batchGetUsers({}));
  expect(error.code).toBe(Code.DeadlineExceeded);
  await promise;
});

test("refuses an answer that is too long before it has ended, and lets the server know", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  respond = () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array(maxAnswerBytes + 1)),
        cancel: () => resolve(),
      }),
      { headers: type },
    );
  expect((await errorOf(clientOf().batchGetUsers({}))).code).toBe(Code.ResourceExhausted);
  await promise;
});

test("has no streams", async () => {
  const transport = createUnaryTransport({ baseUrl: server.url.origin, timeoutMs: 1_000, maxAnswerBytes });
  const call = transport.stream(
    UserService.method.batchGetUsers as never,
    undefined,
    undefined,
    undefined,
    (async function* () {})(),
  );
  expect((await errorOf(call)).code).toBe(Code.Unimplemented);
});
