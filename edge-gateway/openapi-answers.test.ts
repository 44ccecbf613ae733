import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { VideoStatus } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { endpoints } from "./endpoints.ts";
import { failuresOf } from "./openapi-reasons.ts";
import { contractOf, type Contract, type Operation } from "./openapi-testing.ts";
import { authority, startEdgeRedis, startFixture, startFixtureStore, type EdgeRedis, type Fixture } from "./testing.ts";

setDefaultTimeout(60_000);

let redis: EdgeRedis;
let fixture: Fixture;
let contract: Contract;
beforeAll(async () => {
  redis = await startEdgeRedis();
  const uncached = await redis.vars({ feed: { cached: false }, limits: { register: { perAccount: { count: 0 } } } });
  fixture = await startFixture({ MAX_UPLOAD_BYTES: "100000", ...uncached });
  contract = contractOf(await (await fetch(`${fixture.gateway.url}/openapi.json`)).json());
});
afterAll(async () => {
  await fixture.stop();
  await store.stop();
  await redis.stop();
});

const store = startFixtureStore();
const user = { id: 7n, name: "zoë", signature: "hi", avatar: "http://a", backgroundImage: "http://b", isFollow: true };
const video = { id: 9n, author: user, title: "t", status: VideoStatus.READY, playUrl: "http://v", createTime: 1n };
const message = { id: 5n, fromUserId: 7n, toUserId: 8n, content: "hi", createTime: 1n };
const page = { nextCursor: 9_007_199_254_740_991n, hasMore: true };

/** Answers of every service that say as much as they can. */
const answers = {
  register: () => ({ userId: 7n, token: "t" }),
  login: () => ({ userId: 7n, token: "t" }),
  logout: () => ({}),
  logoutEverywhere: () => ({}),
  getUser: () => ({ user }),
  updateUser: () => ({ user }),
  getFeed: () => ({ videos: [video, { ...video, status: VideoStatus.UNSPECIFIED }], nextBeforeMs: 1n, hasMore: true }),
  listPublished: () => ({ videos: [{ ...video, status: VideoStatus.FAILED, statusReason: "too long" }], ...page }),
  deleteVideo: () => ({}),
  getPublishStatus: () => {
    const cover = { coverStatus: VideoStatus.FAILED, coverTimeMs: 4200n, coverReason: "gone" };
    return { videoId: 9n, status: VideoStatus.FAILED, percent: 40, reason: "too long", ...cover };
  },
  chooseCover: () => ({}),
  retryVideo: () => ({}),
  beginUpload: () => ({
    uploadId: 9n,
    videoId: 9n,
    partBytes: 8n,
    contentType: "video/mp4",
    storedParts: [1],
    missingParts: [{ number: 2, size: 8n, url: "http://part" }],
    urlsExpireMs: 1n,
    expiresMs: 2n,
  }),
  completeUpload: () => ({ videoId: 9n }),
  abortUpload: () => ({}),
  admitVideo: () => store.admit("raw/9"),
  admitPicture: () => store.admit("raw-images/9"),
  publish: () => ({ videoId: 9n }),
  setFavorite: () => ({}),
  listFavorites: () => ({ videos: [video], ...page }),
  createComment: () => ({ comment: { id: 3n, user, content: "c", createTime: 1n } }),
  deleteComment: () => ({}),
  listComments: () => ({ comments: [{ id: 3n, user, content: "c", createTime: 1n }], ...page }),
  setFollow: () => ({}),
  listFollowing: () => ({ users: [user], ...page }),
  listFollowers: () => ({ users: [user], ...page }),
  listFriends: () => ({
    friends: [
      { user, message: "hi", sent: true },
      { user, message: "", sent: false },
    ],
    ...page,
  }),
  sendMessage: () => ({}),
  listMessages: () => ({ messages: [message], ...page }),
  stream: () => new Response("id: 1\ndata: {}\n\n", { headers: { "content-type": "text/event-stream" } }),
  publishEvents: () => new Response("data: {}\n\n", { headers: { "content-type": "text/event-stream" } }),
};

type Answers = Parameters<Fixture["origin"]["answer"]>[0];

/** Every service fails with this. */
function failWith(error: ReturnType<typeof flickError>): Answers {
  const refuse = () => Response.json(errorToJson(error, undefined), { status: codeToHttpStatus(error.code) });
  const rpcs = Object.keys(answers).map((name): [string, () => never] => [
    name,
    () => {
      throw error;
    },
  ]);
  return { ...Object.fromEntries(rpcs), stream: refuse, publishEvents: refuse };
}

/** A call with the document's own examples for its parameters, but for those that are given here. */
async function call(operation: Operation, given: Record<string, string | undefined> = {}) {
  const { method, path, source } = operation;
  const examples = source.parameters.flatMap(({ name, schema }) =>
    schema.examples?.[0] === undefined ? [] : [[name, String(schema.examples[0])]],
  );
  const values = Object.entries({ ...Object.fromEntries(examples), ...given }).filter(
    ([, value]) => value !== undefined,
  );
  const params = new URLSearchParams(values as [string, string][]);
  const isUpload = method === "POST" && !source.requestBody?.content["application/json"];
  const query = method === "GET" || isUpload ? `?${params}` : "";
  const upload = new FormData();
  upload.set("data", new File(["x"], "x.mp4"));
  const body = isUpload ? upload : params;
  return asked(path + query, { method, ...(method === "POST" ? { body } : {}) });
}

let viewers = 0;

/** As somebody who has not called before, so that nobody calls too often. */
async function asked(path: string, init: RequestInit) {
  const token = await authority.issue({ userId: ++viewers });
  const response = await fetch(fixture.gateway.url + path, {
    keepalive: false,
    ...init,
    headers: { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) },
  });
  const { status, headers } = response;
  const text = await response.text();
  const isEvents = headers.get("content-type")?.startsWith("text/event-stream") ?? false;
  return { status, headers, text, body: isEvents ? undefined : (JSON.parse(text) as Record<string, unknown>) };
}

const named = endpoints.map((endpoint): [string, (typeof endpoints)[number]] => [endpoint.path, endpoint]);

function operationAt(path: string): Operation {
  const found = contract.operations.find((operation) => operation.path === path);
  if (!found) throw new Error(`${path} is not in the document`);
  return found;
}

describe.each(named)("%s", (path, endpoint) => {
  test("answers what the document says when all is well", async () => {
    fixture.origin.answer(answers);
    const operation = operationAt(path);
    const { status, headers, body } = await call(operation);
    expect(status).toBe(200);
    if (endpoint.events) {
      expect(headers.get("content-type")).toStartWith("text/event-stream");
      expect(operation.source.responses["200"]?.content["text/event-stream"]).toBeDefined();
      return;
    }
    expect(body?.["status_code"]).toBe(0);
    expect(contract.problemsOf(operation, { status, headers, body })).toEqual([]);
  });

  test("fails as the document says, for each of its reasons", async () => {
    const operation = operationAt(path);
    const reasons = path === "/healthz" ? [] : [...failuresOf(endpoint)];
    for (const [expected, reason] of reasons.flatMap(([status, all]) => all.map((each) => [status, each] as const))) {
      fixture.origin.answer(failWith(flickError(reason, "not now")));
      const { status, headers, body } = await call(operation);
      expect([status, body?.["status_code"]]).toEqual([expected, reason]);
      expect(contract.problemsOf(operation, { status, headers, body })).toEqual([]);
    }
  });

  test("refuses each parameter that is missing or rubbish, by its name and in the documented form", async () => {
    fixture.origin.answer(answers);
    const operation = operationAt(path);
    if (!endpoint.handle) return;
    const { parameters } = operation.source;
    const numeric = parameters.filter(({ schema }) => Array.isArray(schema.type)).map(({ name }) => name);
    for (const name of numeric) {
      for (const rubbish of ["rubbish", "-x", "1e999", "0x10", "\u0000", "9".repeat(5000)]) {
        // One of a variant is looked at by its own action only.
        const other = path === "/douyin/comment/action" && name === "comment_id" ? { action_type: "2" } : {};
        if (name === "latest_time" && /^\d+(e\d+)?$/.test(rubbish)) continue;
        await expectRefusal(operation, { ...other, [name]: rubbish }, name);
      }
    }
    for (const name of requiredOf(operation)) {
      await expectRefusal(operation, { [name]: undefined }, name);
      await expectRefusal(operation, { [name]: "" }, name);
    }
  });

  test("refuses a body that is too large or of another type in the documented form", async () => {
    const operation = operationAt(path);
    if (operation.method !== "POST") return;
    const type = { "content-type": "application/xml" };
    const large = { "content-type": "multipart/form-data; boundary=b" };
    for (const [expected, init] of [
      [415, { body: "<a/>", headers: type }],
      [413, { body: "x".repeat(300_000), headers: large }],
    ] as const) {
      const { status, headers, body } = await asked(path, { method: "POST", ...init });
      expect(status).toBe(expected);
      expect(contract.problemsOf(operation, { status, headers, body })).toEqual([]);
    }
  });
});

async function expectRefusal(operation: Operation, given: Record<string, string | undefined>, name: string) {
  const { status, headers, body } = await call(operation, given);
  expect([status, body?.["status_code"]]).toEqual([200, Reason.INVALID_PARAMETER]);
  expect(body?.["status_msg"]).toStartWith(`${name} `);
  expect(contract.problemsOf(operation, { status, headers, body })).toEqual([]);
}

/** What a call of an operation cannot do without, wherever it is. */
function requiredOf({ source }: Operation): string[] {
  const inQuery = source.parameters.filter(({ required }) => required).map(({ name }) => name);
  const { schema } = source.requestBody?.content["application/json"] ?? {};
  const pointer = (schema?.["$ref"] as string | undefined)?.slice("#/components/schemas/".length);
  return [...inQuery, ...(pointer ? contract.requiredIn(pointer) : [])];
}
