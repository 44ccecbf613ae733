import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import { create } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createClient,
  createConnectRouter,
  createContextKey,
  createContextValues,
  createRouterTransport,
  decodeBinaryHeader,
  encodeBinaryHeader,
  type Client,
  type HandlerContext,
  type Interceptor,
  type Transport,
} from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { ErrorDetailSchema, Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { BatchGetUsersResponseSchema, UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import { createLocalTransport } from "./local-transport.ts";
import {
  createTestServices,
  serveHandlers,
  serveServices,
  until,
  type TestServer,
  type TestServices,
} from "./testing.ts";
import { createUnaryTransport } from "./unary-transport.ts";

/** A way from a client to the services; Connect's own pairs come along, so that what is tested here is what Connect does. */
type Way = (services: TestServices) => { transport: Transport; server?: TestServer };

const connectClient = (baseUrl: string) => createGrpcWebTransport({ baseUrl });
const ownClient = (baseUrl: string) =>
  createUnaryTransport({ baseUrl, timeoutMs: 20_000, maxAnswerBytes: 1024 * 1024 });

function overWire(client: (url: string) => Transport, serve: (services: TestServices) => TestServer): Way {
  return (services) => {
    const server = serve(services);
    return { server, transport: client(server.url) };
  };
}

function serveByConnect({ routes, interceptors }: TestServices): TestServer {
  const router = createConnectRouter({ grpc: false, connect: false, interceptors });
  routes(router);
  return serveHandlers(new Map(router.handlers.map((handler) => [handler.requestPath, createFetchHandler(handler)])));
}

const ways: Record<string, Way> = {
  "Connect's client and handler": overWire(connectClient, serveByConnect),
  "Connect's client, our handler": overWire(connectClient, serveServices),
  "our client, Connect's handler": overWire(ownClient, serveByConnect),
  "our client and handler": overWire(ownClient, serveServices),
  "Connect's JSON client, our server": overWire(
    (baseUrl) => createGrpcWebTransport({ baseUrl, useBinaryFormat: false }),
    serveServices,
  ),
  "Connect's way within a process": ({ routes, interceptors }) => ({
    transport: createRouterTransport(routes, { router: { interceptors } }),
  }),
  "our way within a process": ({ routes, interceptors }) => ({
    transport: createLocalTransport({
      routes,
      interceptors,
      addHeaders: () => Promise.resolve(),
      timeoutMs: 20_000,
    }),
  }),
};

const wordKey = createContextKey("nobody");

/** Takes a word from the header for the handler, refuses the word "no", and adds to the answer. */
const readWord: Interceptor = (next) => async (request) => {
  const word = request.header.get("x-word") ?? "none";
  if (word === "no") throw new ConnectError("refused by the interceptor", Code.PermissionDenied);
  request.contextValues.set(wordKey, `${word} for ${request.method.name}, ${request.stream ? "stream" : "unary"}`);
  const header = new Headers(request.header);
  header.set("x-added", "by the interceptor");
  const response = await next(request.stream ? request : { ...request, header });
  response.header.set("x-intercepted", "yes");
  return response;
};

async function errorOf(call: Promise<unknown>): Promise<ConnectError> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ConnectError)) throw new Error(`no ConnectError: ${String(error)}`);
  return error;
}

describe.each(Object.entries(ways))("a unary call by %s", (wayName, way) => {
  const services = createTestServices([readWord]);
  let server: TestServer | undefined;
  let users: Client<typeof UserService>;
  let favorites: Client<typeof FavoriteService>;
  beforeAll(() => {
    const made = way(services);
    server = made.server;
    users = createClient(UserService, made.transport);
    favorites = createClient(FavoriteService, made.transport);
  });
  beforeEach(() => services.answer({}));
  afterAll(() => server?.stop());

  test("carries its message there and back", async () => {
    services.answer({
      batchGetUsers: ({ userIds }) => ({ users: userIds.map((id) => ({ id, name: `名前 ${id}`, isFollow: true })) }),
    });
    const ids = [1n, 2n ** 53n - 1n, -5n];
    const { users: found } = await users.batchGetUsers({ userIds: ids });
    expect(found.map(({ id, name, isFollow }) => ({ id, name, isFollow }))).toEqual(
      ids.map((id) => ({ id, name: `名前 ${id}`, isFollow: true })),
    );
  });

  test("carries a message with nothing in it", async () => {
    services.answer({ setFavorite: ({ favorite }) => (favorite ? Promise.reject(new Error("not empty")) : {}) });
    expect(await favorites.setFavorite({})).toMatchObject({ $typeName: "flick.favorite.v1.SetFavoriteResponse" });
  });

  test("carries metadata both ways, binary and repeated too", async () => {
    const bytes = new Uint8Array([0, 255, 128, 10, 13]);
    let seen = new Headers();
    services.answer({
      setFavorite(_request, context) {
        seen = context.requestHeader;
        context.responseHeader.set("x-head", "h");
        context.responseHeader.set("x-head-bin", encodeBinaryHeader(bytes));
        context.responseTrailer.append("x-tail", "one");
        context.responseTrailer.append("x-tail", "two");
        context.responseTrailer.set("x-tail-bin", encodeBinaryHeader(bytes));
        return {};
      },
    });
    let [header, trailer] = [new Headers(), new Headers()];
    await favorites.setFavorite(
      {},
      {
        headers: [
          ["x-mine", "a"],
          ["x-mine", "b"],
          ["x-mine-bin", encodeBinaryHeader(bytes)],
        ],
        onHeader: (headers) => void (header = headers),
        onTrailer: (trailers) => void (trailer = trailers),
      },
    );
    expect([seen.get("x-mine"), seen.get("x-added")]).toEqual(["a, b", "by the interceptor"]);
    expect(decodeBinaryHeader(seen.get("x-mine-bin") ?? "")).toEqual(bytes);
    expect([header.get("x-head"), header.get("x-intercepted")]).toEqual(["h", "yes"]);
    expect(decodeBinaryHeader(header.get("x-head-bin") ?? "")).toEqual(bytes);
    expect(trailer.get("x-tail")).toBe("one, two");
    expect(decodeBinaryHeader(trailer.get("x-tail-bin") ?? "")).toEqual(bytes);
  });

  test("goes through the interceptors, whose context values reach the handler and nobody else's do", async () => {
    let seen = "";
    services.answer({ setFavorite: (_request, { values }) => ((seen = values.get(wordKey)), {}) });
    const contextValues = createContextValues().set(wordKey, "what the client says");
    await favorites.setFavorite({}, { headers: { "x-word": "hello" }, contextValues });
    expect(seen).toBe("hello for SetFavorite, unary");
    expect(contextValues.get(wordKey)).toBe("what the client says");
    const refused = await errorOf(favorites.setFavorite({}, { headers: { "x-word": "no" } }));
    expect([refused.code, refused.rawMessage]).toEqual([Code.PermissionDenied, "refused by the interceptor"]);
  });

  test("tells the handler what is called and how long it has", async () => {
    let seen: HandlerContext | undefined;
    let left: number | undefined;
    services.answer({
      setFavorite(_request, context) {
        seen = context;
        left = context.timeoutMs();
        return {};
      },
    });
    await favorites.setFavorite({}, { timeoutMs: 1_500 });
    expect(seen?.service.typeName).toBe("flick.favorite.v1.FavoriteService");
    expect(seen?.method.name).toBe("SetFavorite");
    expect(seen?.requestMethod).toBe("POST");
    expect(seen?.url).toEndWith("/flick.favorite.v1.FavoriteService/SetFavorite");
    expect(left).toBeWithin(1, 1_501);
  });

  test("fails with the handler's code, message, details and metadata", async () => {
    services.answer({
      setFavorite(_request, context) {
        context.responseTrailer.set("x-tail", "t");
        throw flickError(Reason.VIDEO_NOT_FOUND, "no such video: 100 % «weg»\n – ", new Error("the cause"));
      },
    });
    const error = await errorOf(favorites.setFavorite({}));
    expect([error.code, error.rawMessage]).toEqual([Code.NotFound, "no such video: 100 % «weg»\n – "]);
    expect(reasonOf(error)).toBe(Reason.VIDEO_NOT_FOUND);
    expect(error.findDetails(ErrorDetailSchema)).toMatchObject([{ reason: Reason.VIDEO_NOT_FOUND }]);
    expect(error.metadata.get("x-tail")).toBe("t");
    expect(error.cause).toBeUndefined();
  });

  test.each(Object.values(Code).filter((code) => typeof code === "number"))("fails with code %d", async (code) => {
    services.answer({ setFavorite: () => Promise.reject(new ConnectError("a reason", code)) });
    const error = await errorOf(favorites.setFavorite({}));
    expect([error.code, error.rawMessage]).toEqual([code, "a reason"]);
  });

  test("says nothing of an error that was not made to be seen", async () => {
    services.answer({ setFavorite: () => Promise.reject(new Error("password=hunter2")) });
    const error = await errorOf(favorites.setFavorite({}));
    expect([error.code, error.rawMessage]).toEqual([Code.Internal, "internal error"]);
  });

  test("passes an error on with its details, but without the metadata that came with it", async () => {
    services.answer({
      setFavorite: () => Promise.reject(new ConnectError("inner", Code.Aborted, { "x-secret": "s" })),
      batchGetUsers: async () => {
        await favorites.setFavorite({});
        return {};
      },
    });
    expect((await errorOf(favorites.setFavorite({}))).metadata.get("x-secret")).toBe("s");
    const error = await errorOf(users.batchGetUsers({}));
    expect([error.code, error.rawMessage]).toEqual([Code.Aborted, "inner"]);
    expect(error.metadata.get("x-secret")).toBeNull();
  });

  test("ends at its deadline, for its caller and for its handler", async () => {
    const handler = Promise.withResolvers<string>();
    services.answer({
      setFavorite: (_request, { signal }) =>
        new Promise(() =>
          signal.addEventListener("abort", () => handler.resolve(Code[signal.reason?.code] ?? "other")),
        ),
    });
    const error = await errorOf(favorites.setFavorite({}, { timeoutMs: 300 }));
    expect(error.code).toBe(Code.DeadlineExceeded);
    await handler.promise;
  });

  test("ends when its caller gives up, for its caller and for its handler", async () => {
    const begun = Promise.withResolvers<void>();
    const handler = Promise.withResolvers<void>();
    services.answer({
      setFavorite: (_request, { signal }) => {
        begun.resolve();
        return new Promise(() => signal.addEventListener("abort", () => handler.resolve()));
      },
    });
    const controller = new AbortController();
    const call = errorOf(favorites.setFavorite({}, { signal: controller.signal }));
    await begun.promise;
    controller.abort();
    expect((await call).code).toBe(Code.Canceled);
    await handler.promise;
  });

  // Connect calls the handler of such a call.
  test.skipIf(wayName === "Connect's way within a process")(
    "is not made when its caller has given up before",
    async () => {
      let calls = 0;
      services.answer({ setFavorite: () => (calls++, {}) });
      const error = await errorOf(favorites.setFavorite({}, { signal: AbortSignal.abort() }));
      expect([error.code, calls]).toEqual([Code.Canceled, 0]);
    },
  );

  test("leaves nothing behind on its caller's signal", async () => {
    services.answer({ setFavorite: () => ({}) });
    const { signal } = new AbortController();
    const counts = { added: 0, removed: 0 };
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...listener: Parameters<typeof add>) => (counts.added++, add(...listener));
    signal.removeEventListener = (...listener: Parameters<typeof remove>) => (counts.removed++, remove(...listener));
    await favorites.setFavorite({}, { signal });
    await until(() => counts.removed >= counts.added);
    expect(counts.added).toBeGreaterThan(0);
  });

  test("gives each side messages of its own", async () => {
    const kept = create(BatchGetUsersResponseSchema, { users: [{ id: 1n, name: "kept" }] });
    const asked: bigint[][] = [];
    services.answer({
      batchGetUsers(request) {
        asked.push([...request.userIds]);
        request.userIds.push(99n);
        return kept;
      },
    });
    const userIds = [1n];
    for (let time = 0; time < 2; time++) {
      const { users: found } = await users.batchGetUsers({ userIds });
      expect(found.map(({ name }) => name)).toEqual(["kept"]);
      for (const user of found) user.name = "changed by the caller";
    }
    expect(userIds).toEqual([1n]);
    expect(asked).toEqual([[1n], [1n]]);
    expect(kept.users[0]?.name).toBe("kept");
  });
});
