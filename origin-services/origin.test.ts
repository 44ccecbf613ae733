import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { freePorts } from "@flick/dev/ports.ts";
import { startMariadb, type TestServer } from "@flick/dev/testing.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { serviceTokenHeader } from "@flick/proto/service-token.ts";

import { startTestOrigin, testServiceSecret, type TestOrigin } from "./testing.ts";

const reason = (call: Promise<unknown>) =>
  call.then(
    () => "success",
    (error: unknown) => Reason[reasonOf(error)],
  );

describe("an origin", () => {
  let origin: TestOrigin;
  beforeAll(async () => {
    origin = await startTestOrigin();
  });
  afterAll(() => origin.stop());

  /** A user client that sends these headers. */
  function withHeaders(headers: Record<string, string>) {
    const add: Interceptor = (next) => (request) => {
      for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
      return next(request);
    };
    return createClient(UserService, createGrpcWebTransport({ baseUrl: origin.url, interceptors: [add] }));
  }

  test("says that it is healthy and ready, and knows no other paths", async () => {
    for (const [path, status] of Object.entries({
      "/healthz": 200,
      "/readyz": 200,
      "/": 404,
      "/flick.user.v1.UserService/No": 404,
    })) {
      expect((await fetch(`${origin.url}${path}`)).status).toBe(status);
    }
  });

  test("asks for a token where a viewer is needed", async () => {
    expect(await reason(withHeaders({}).getUser({}))).toBe("UNAUTHENTICATED");
    for (const authorization of ["Bearer", "Bearer x", "Basic abc", "Bearer a b"]) {
      expect(await reason(withHeaders({ authorization }).getUser({}))).toBe("UNAUTHENTICATED");
    }
  });

  test("refuses a bad token also where none is needed", async () => {
    expect(await reason(origin.as("a.b.c").video.getFeed({}))).toBe("UNAUTHENTICATED");
    expect(await reason(origin.as().video.getFeed({}))).toBe("success");
  });

  test("opens calls between services to service tokens only", async () => {
    const { token } = await origin.signUp();
    const good = await createServiceTokenSigner("tests", testServiceSecret)();
    const forged = await createServiceTokenSigner("tests", "a secret that somebody else has made up")();
    const call = (headers: Record<string, string>) => reason(withHeaders(headers).batchGetUsers({ userIds: [1n] }));
    expect(await call({ [serviceTokenHeader]: good })).toBe("success");
    expect(await call({ [serviceTokenHeader]: forged })).toBe("UNAUTHENTICATED");
    expect(await call({ [serviceTokenHeader]: token })).toBe("UNAUTHENTICATED");
    expect(await call({ authorization: `Bearer ${token}` })).toBe("PERMISSION_DENIED");
    expect(await call({ authorization: `Bearer ${good}` })).toBe("UNAUTHENTICATED");
    expect(await call({})).toBe("PERMISSION_DENIED");
  });

  test("bounds batches and messages", async () => {
    const token = await createServiceTokenSigner("tests", testServiceSecret)();
    const client = withHeaders({ [serviceTokenHeader]: token });
    expect(await reason(client.batchGetUsers({ userIds: Array.from({ length: 101 }, () => 1n) }))).toBe(
      "INVALID_PARAMETER",
    );
    const call = client.register({ username: "x".repeat(2_000_000), password: "long enough" });
    expect(await reason(call)).not.toBe("success");
  });

  test("ends a call at its caller's deadline", async () => {
    const slow = origin.as().user.register({ username: "in a hurry", password: "long enough" }, { timeoutMs: 5 });
    expect(await reason(slow)).toBe("TIMEOUT");
  });
});

test("services in two processes work together as they do in one", async () => {
  const dir = await mkdtemp(join(tmpdir(), "flick-split-"));
  const keyFile = join(dir, "jwt.json");
  // Each calls the other: both learn the other's address beforehand.
  const [onePort = 0, otherPort = 0] = await freePorts(2);
  const [one, other] = [`http://127.0.0.1:${onePort}`, `http://127.0.0.1:${otherPort}`];
  const urls = {
    USER_SERVICE_URL: one,
    RELATION_SERVICE_URL: one,
    MESSAGE_SERVICE_URL: one,
    VIDEO_SERVICE_URL: other,
    FAVORITE_SERVICE_URL: other,
    COMMENT_SERVICE_URL: other,
  };
  const users = await startTestOrigin({
    ...urls,
    SERVICES: "user,relation,message",
    PORT: String(onePort),
    JWT_PRIVATE_KEY_FILE: keyFile,
  });
  const { d: _private, ...publicKey } = JSON.parse(await readFile(keyFile, "utf8")) as Record<string, unknown>;
  const videos = await startTestOrigin({
    ...urls,
    SERVICES: "video,favorite,comment",
    PORT: String(otherPort),
    JWT_PRIVATE_KEY_FILE: "",
    REDIS_URL: users.redisUrl,
    JWT_PUBLIC_KEYS: JSON.stringify({ keys: [publicKey] }),
  });
  try {
    const { token, userId } = await users.signUp();
    const file = new Blob([Buffer.from("\0\0\0\x20ftypisom", "latin1"), new Uint8Array(100)]);
    const form = new FormData();
    form.append("data", file, "a.mp4");
    form.append("title", "across processes");
    expect((await videos.upload(form, { token })).status).toBe(200);
    const { videos: list } = await videos.as(token).video.listPublished({});
    expect(list[0]?.author).toMatchObject({ id: BigInt(userId), workCount: 1n });
    expect((await users.as(token).user.getUser({})).user?.workCount).toBe(1n);
    expect(await reason(users.as(token).video.getFeed({}))).not.toBe("success");
  } finally {
    await videos.stop();
    await users.stop();
    await rm(dir, { recursive: true });
  }
});

describe("while the database is away", () => {
  let dir: string;
  let mariadb: TestServer;
  let origin: TestOrigin;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-away-"));
    mariadb = await startMariadb({ dir });
    origin = await startTestOrigin({}, { mysqlUrl: mariadb.url });
  });
  afterAll(async () => {
    await origin.stop();
    await mariadb.stop();
    await rm(dir, { recursive: true });
  });

  test.each(["stop", "kill"] as const)(
    "calls answer UNAVAILABLE, and work again when it is back (after a %s)",
    async (end) => {
      const { token } = await origin.signUp();
      // Several connections are in the pool when the server goes.
      await Promise.all(Array.from({ length: 8 }, () => origin.as(token).user.getUser({})));
      await mariadb[end]();
      for (let round = 0; round < 5; round++) {
        // Nobody has asked for this one, so that it is not in the cache.
        const stranger = BigInt(900_000 + round);
        expect(await reason(origin.as(token).user.getUser({ userId: stranger }))).toBe("UNAVAILABLE");
        expect(await reason(origin.as().video.getFeed({}))).toBe("UNAVAILABLE");
        expect(await reason(origin.as().user.login({ username: "user 1", password: "a good password" }))).toBe(
          "UNAVAILABLE",
        );
        expect((await fetch(`${origin.url}/readyz`)).status).toBe(503);
        await Bun.sleep(200);
      }
      await mariadb.start();
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => reason(origin.as(token).user.getUser({}))));
      expect(new Set(outcomes)).toEqual(new Set(["success"]));
      expect((await fetch(`${origin.url}/readyz`)).status).toBe(200);
    },
  );
});

test("stopping lets calls at work finish and refuses new ones", async () => {
  const origin = await startTestOrigin();
  const slow = reason(origin.as().user.register({ username: "the last one", password: "long enough" }));
  await Bun.sleep(20);
  await origin.stop();
  expect(await slow).toBe("success");
  expect(await reason(origin.as().video.getFeed({}))).not.toBe("success");
});
