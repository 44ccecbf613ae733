import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";

import { Code, ConnectError } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import {
  otherToken,
  startFixture,
  startFixtureStore,
  until,
  viewerToken,
  type Fixture,
  type FixtureStore,
} from "../testing.ts";

const maxUploadBytes = 50_000_000;

let fixture: Fixture;
let store: FixtureStore;
beforeAll(async () => {
  fixture = await startFixture({ MAX_UPLOAD_BYTES: String(maxUploadBytes) });
  store = startFixtureStore();
});
afterAll(async () => {
  await fixture.stop();
  await store.stop();
});
afterEach(() => {
  store.objects.clear();
  store.seen.length = 0;
  store.answer = undefined;
});

interface Admitted {
  head: Uint8Array;
  title: string | undefined;
  headers: Headers;
}

interface Published {
  ticket: string;
  title: string;
  headers: Headers;
}

/** Lets every file be stored, and publishes it. */
function takeUploads(refusal: { admit?: () => Error; publish?: () => Error } = {}) {
  const admitted: Admitted[] = [];
  const published: Published[] = [];
  fixture.origin.answer({
    admitVideo({ head, title }, { requestHeader }) {
      admitted.push({ head, title, headers: requestHeader });
      if (refusal.admit) throw refusal.admit();
      return store.admit(`raw/${admitted.length}`);
    },
    publish({ ticket, title }, { requestHeader }) {
      published.push({ ticket, title, headers: requestHeader });
      if (refusal.publish) throw refusal.publish();
      return { videoId: 9007199254740991n };
    },
  });
  return { admitted, published };
}

const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const boundary = "----WebKitFormBoundaryx7Ab3kQpL9zTq2Wv";
const type = `multipart/form-data; boundary=${boundary}`;
const multipartType = `content-type: ${type}`;
const beginFile = `--${boundary}\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n`;
const field = (name: string, value: string) =>
  `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const endOfFile = "\r\n";
const end = `--${boundary}--\r\n`;

/** Bytes in which much looks like the beginning of a delimiter. */
function clip(bytes: number): Buffer {
  const file = Buffer.alloc(bytes, `flick\r\n------WebKitFormBoundary${"-".repeat(30)}`);
  for (let at = 0; at + 65_536 < bytes; at += 100_003) crypto.getRandomValues(file.subarray(at, at + 65_536));
  return file;
}

function form(file: Uint8Array, ...after: string[]): Buffer {
  return Buffer.concat([Buffer.from(beginFile), file, Buffer.from([endOfFile, ...after, end].join(""))]);
}

const post = (body: Bun.BodyInit, headers: Record<string, string> = { authorization: `Bearer ${viewerToken}` }) =>
  ({ method: "POST", body, headers: { "content-type": type, ...headers } }) as const;

/** Sends a request's head and leaves the rest to the test. */
async function openUpload(...headers: string[]): Promise<{ socket: Socket; answer: () => string }> {
  const { hostname, port } = new URL(fixture.gateway.url);
  const socket = connect(Number(port), hostname);
  let answer = "";
  socket.on("data", (data: Buffer) => (answer += data.toString()));
  socket.on("error", () => {});
  const path = `/douyin/publish/action/?token=${viewerToken}`;
  socket.write([`POST ${path} HTTP/1.1`, "host: gateway", ...headers, "", ""].join("\r\n"));
  return { socket, answer: () => answer };
}

test("stores the file as it is, with the type that the service says, and publishes it", async () => {
  const { admitted, published } = takeUploads();
  const file = clip(5_000_001);
  for (const path of ["/publish/action", "/publish/action/"]) {
    const { status, json } = await fixture.call(path, post(form(file, field("title", "My 🎬 day"))));
    expect(json).toEqual({ status_code: 0, status_msg: "success", video_id: 9007199254740991 });
    expect(status).toBe(200);
  }
  expect([...store.objects]).toMatchObject([
    ["raw/1", { bytes: file.length, hash: sha256(file) }],
    ["raw/2", { bytes: file.length, hash: sha256(file) }],
  ]);
  const { headers } = store.objects.get("raw/1") ?? {};
  expect([headers?.get("content-type"), headers?.get("authorization")]).toEqual(["video/mp4", null]);
  expect(Buffer.from(admitted[0]?.head ?? []).equals(file.subarray(0, 64))).toBe(true);
  expect(admitted[0]?.title).toBeUndefined();
  expect(published[0]).toMatchObject({ ticket: "ticket of raw/1", title: "My 🎬 day" });
});

test("takes a body of unknown length, in pieces of any size", async () => {
  takeUploads();
  const file = clip(5_000_000);
  const whole = form(file);
  let at = 0;
  let step = 1;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at === whole.length) return controller.close();
      controller.enqueue(whole.subarray(at, at + step));
      at = Math.min(whole.length, at + step);
      step = (step * 3) % 200_003;
    },
  });
  const { json } = await fixture.call("/publish/action/", post(body));
  expect(json["status_code"]).toBe(0);
  expect(store.objects.get("raw/1")).toMatchObject({ bytes: file.length, hash: sha256(file) });
});

test("the store gets the first bytes while the client still holds back the last", async () => {
  takeUploads();
  const rest = `${endOfFile}${end}`;
  const { socket, answer } = await openUpload(multipartType, `content-length: ${beginFile.length + 200 + rest.length}`);
  const before = store.taken();
  socket.write(beginFile);
  socket.write("x".repeat(150));
  await until(() => store.taken() === before + 150);
  socket.write("x".repeat(50));
  await until(() => store.taken() === before + 200);
  expect(answer()).toBe("");
  socket.write(rest);
  await until(() => answer().includes("video_id"));
  socket.destroy();
  expect(store.objects.get("raw/1")?.bytes).toBe(200);
});

test("finds the token and the title wherever they are, and hands on the request's id", async () => {
  const { admitted, published } = takeUploads();
  const body = form(clip(100));
  const title = encodeURIComponent("a 🎬 & b");
  const { headers } = await fixture.call(`/publish/action/?token=${viewerToken}&title=${title}`, post(body, {}));
  await fixture.call(`/publish/action/?token=${viewerToken}`, post(body, { authorization: `Bearer ${otherToken}` }));
  await fixture.call(
    `/publish/action/?title=${title}`,
    post(field("token", otherToken) + field("title", "before") + form(clip(100)).toString("latin1"), {}),
  );
  await fixture.call("/publish/action/", post(form(clip(100), field("token", viewerToken), field("title", "t")), {}));
  const bearer = ({ headers: its }: { headers: Headers }) => its.get("authorization");
  expect(admitted.map(bearer)).toEqual([`Bearer ${viewerToken}`, `Bearer ${otherToken}`, `Bearer ${otherToken}`, null]);
  expect(published.map(bearer)).toEqual([
    `Bearer ${viewerToken}`,
    `Bearer ${otherToken}`,
    `Bearer ${otherToken}`,
    `Bearer ${viewerToken}`,
  ]);
  expect(admitted.map((each) => each.title)).toEqual([undefined, undefined, "before", undefined]);
  expect(published.map((each) => each.title)).toEqual(["a 🎬 & b", "", "before", "t"]);
  expect(admitted[0]?.headers.get("x-request-id")).toBe(headers.get("x-request-id"));
  expect(published[0]?.headers.get("x-request-id")).toBe(headers.get("x-request-id"));
});

test("a token or a title in the form counts for more than one in the query, and a token in the header for most", async () => {
  const { admitted, published } = takeUploads();
  const query = `/publish/action/?token=${viewerToken}&title=query`;
  const fields = [field("token", otherToken), field("title", "form"), field("title", "again")].join("");
  const inForm = () => Buffer.concat([Buffer.from(fields), form(clip(100))]);
  await fixture.call(query, post(inForm(), {}));
  await fixture.call(query, post(inForm(), { authorization: `Bearer ${viewerToken}` }));
  const callers = [admitted, published].map((calls) => calls.map(({ headers }) => headers.get("authorization")));
  const [others, viewers] = [otherToken, viewerToken].map((token) => `Bearer ${token}`);
  expect(callers).toEqual([
    [others, viewers],
    [others, viewers],
  ] as string[][]);
  expect(published.map(({ title }) => title)).toEqual(["form", "form"]);
});

test("does not pass on what else the client sends, such as `expect` and service tokens", async () => {
  const { admitted, published } = takeUploads();
  const { socket, answer } = await openUpload(
    multipartType,
    `content-length: ${form(clip(100)).length}`,
    "expect: 100-continue",
    "x-flick-service-token: forged",
    "cookie: a=b",
  );
  socket.write(form(clip(100)));
  await until(() => answer().includes("video_id"));
  socket.destroy();
  const all = [admitted[0]?.headers, published[0]?.headers, store.objects.get("raw/1")?.headers];
  for (const headers of all) {
    expect(headers).toBeDefined();
    expect(["expect", "x-flick-service-token", "cookie"].map((name) => headers?.get(name))).toEqual([null, null, null]);
  }
});

test("refuses a file over the limit by its declared length, before a byte of it", async () => {
  const { admitted } = takeUploads();
  const { socket, answer } = await openUpload(multipartType, `content-length: ${maxUploadBytes + 65_537}`);
  await until(() => answer().includes("video_id"));
  socket.destroy();
  expect(answer()).toStartWith("HTTP/1.1 413");
  expect(answer()).toContain(
    `{"status_code":10004,"status_msg":"The file may have at most ${maxUploadBytes} bytes.","video_id":0}`,
  );
  expect(admitted).toEqual([]);
});

test("lets a file of just the limit through, and not one of a byte more", async () => {
  takeUploads();
  const { status } = await fixture.call("/publish/action/", post(form(clip(maxUploadBytes))));
  expect(status).toBe(200);
  expect(store.objects.get("raw/1")?.bytes).toBe(maxUploadBytes);
  const large = await fixture.call("/publish/action/", post(form(clip(maxUploadBytes + 1))));
  expect(large.status).toBe(413);
  expect(large.json["status_msg"]).toBe(`data: at most ${maxUploadBytes} bytes`);
  expect([...store.objects.keys()]).toEqual(["raw/1"]);
});

test("has the service's limit, too, which a declared length shows before a byte is stored", async () => {
  fixture.origin.answer({ admitVideo: () => ({ ...store.admit("raw/1"), maxBytes: 100_000n }) });
  for (const size of [100_001, 300_000]) {
    const { status, json } = await fixture.call("/publish/action/", post(form(clip(size))));
    expect([status, json["status_msg"]]).toEqual([413, "data: at most 100000 bytes"]);
  }
  await until(() => store.seen.length === 2);
  expect(store.seen.toSorted()).toEqual(["DELETE raw/1", "cut raw/1"]);
});

test.each([
  ["JSON", { body: "{}", headers: { "content-type": "application/json" } }],
  ["a form", { body: "title=a", headers: { "content-type": "application/x-www-form-urlencoded" } }],
  ["a bare file", { body: new Uint8Array(10), headers: { "content-type": "video/mp4" } }],
  ["nothing", {}],
])("refuses %s with 415", async (_what, init) => {
  const { admitted } = takeUploads();
  const { status, json } = await fixture.call("/publish/action/", { method: "POST", ...init });
  expect(status).toBe(415);
  expect(json).toEqual({ status_code: 10005, status_msg: "The body must be multipart/form-data.", video_id: 0 });
  expect(admitted).toEqual([]);
});

test.each<[Reason, number]>([
  [Reason.UNAUTHENTICATED, 401],
  [Reason.TOO_LARGE, 413],
  [Reason.NOT_A_VIDEO, 200],
  [Reason.MISSING_FILE, 200],
  [Reason.INVALID_PARAMETER, 200],
  [Reason.UNAVAILABLE, 503],
  [Reason.TIMEOUT, 504],
])("tells what either call is refused with: reason %i is HTTP %i", async (reason, to) => {
  const refusal = () => flickError(reason, "the words");
  for (const calls of [{ admit: refusal }, { publish: refusal }]) {
    takeUploads(calls);
    const { status, json } = await fixture.call("/publish/action/", post(form(clip(1000))));
    expect(status).toBe(to);
    expect(json).toEqual({ status_code: reason, status_msg: "the words", video_id: 0 });
  }
});

test("a file that is refused in the end is deleted; one of which nobody knows whether it is published stays", async () => {
  takeUploads({ publish: () => flickError(Reason.INVALID_PARAMETER, "title: too long") });
  await fixture.call("/publish/action/", post(form(clip(1000))));
  expect(store.seen).toEqual(["PUT raw/1", "DELETE raw/1"]);
  takeUploads({ publish: () => new ConnectError("down", Code.Unavailable) });
  await fixture.call("/publish/action/", post(form(clip(1000))));
  expect(store.seen.slice(2)).toEqual(["PUT raw/1"]);
});

test.each<[string, Buffer]>([
  ["ends early", form(clip(1000)).subarray(0, -3)],
  ["has a second file", form(clip(1000), beginFile, "another", endOfFile)],
  ["has a field that is too long", form(clip(1000), field("title", "x".repeat(5000)))],
  ["goes on after its end", Buffer.concat([form(clip(1000)), Buffer.alloc(10_000)])],
])("of a form that %s nothing stays", async (_what, body) => {
  const { published } = takeUploads();
  const { json } = await fixture.call("/publish/action/", post(body));
  expect(json["status_code"]).toBe(Reason.INVALID_PARAMETER);
  expect([...store.objects]).toEqual([]);
  expect(published).toEqual([]);
});

test.each<[string, () => Response]>([
  ["a refusal", () => new Response("<Message>secret</Message>", { status: 403 })],
  ["a fault", () => new Response("secret", { status: 500 })],
  ["a redirect", () => Response.redirect("http://127.0.0.1:1/secret", 307)],
  ["an answer that is no OSS's", () => new Response("secret", { status: 202 })],
])("says nothing of what is behind %s of the store, and calls it an outage", async (_what, respond) => {
  takeUploads();
  store.answer = async (request) => {
    await request.arrayBuffer();
    return respond();
  };
  const { status, json } = await fixture.call("/publish/action/", post(form(clip(1000))));
  expect(status).toBe(503);
  expect(json).toEqual({
    status_code: Reason.UNAVAILABLE,
    status_msg: expect.stringContaining("try again"),
    video_id: 0,
  });
  expect(JSON.stringify(json)).not.toContain("secret");
  expect(JSON.stringify(fixture.log)).not.toContain("secret");
});

test.each([
  ["of known length", "content-length: 40000000", (text: string) => text],
  ["in chunks", "transfer-encoding: chunked", (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`],
])("tells a refusal at once while the body %s is still on its way", async (_how, header, frame) => {
  takeUploads({ admit: () => flickError(Reason.UNAUTHENTICATED, "sign in first") });
  const { socket, answer } = await openUpload(multipartType, header);
  socket.write(frame(beginFile));
  let sent = 0;
  const started = performance.now();
  while (!answer().includes("video_id") && performance.now() - started < 5000) {
    socket.write(frame("x".repeat(1000)));
    sent += 1000;
    await Bun.sleep(10);
  }
  socket.destroy();
  expect(answer()).toStartWith("HTTP/1.1 401");
  expect(answer()).toContain(`{"status_code":10002,"status_msg":"sign in first","video_id":0}`);
  expect(sent).toBeLessThan(200_000);
});

test("refuses in time even while the client sends as fast as it can", async () => {
  takeUploads({ admit: () => flickError(Reason.UNAUTHENTICATED, "sign in first") });
  const body = form(clip(20_000_000));
  fixture.log.length = 0;
  const turns = 10;
  for (let turn = 0; turn < turns; turn++) {
    // A client that is busy sending may miss the answer: workerd closes the connection right after it.
    await fixture.call("/publish/action/", post(body)).catch(() => {});
  }
  const statuses = () => fixture.log.flatMap((line) => (line["message"] === "request" ? [line["status"]] : []));
  await until(() => statuses().length === turns);
  expect(statuses()).toEqual(Array.from({ length: turns }, () => 401));
});

test("stores nothing of what its client does not send to the end", async () => {
  const { published } = takeUploads();
  const { socket } = await openUpload(multipartType, "content-length: 1000000");
  const before = store.taken();
  socket.write(beginFile);
  socket.write("x".repeat(1000));
  await until(() => store.taken() > before);
  socket.destroy();
  await until(() => store.seen.includes("cut raw/1"));
  expect(store.objects.size).toBe(0);
  expect(published).toEqual([]);
});

test("takes no more from its client than the store takes", async () => {
  takeUploads();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  store.answer = async (request) => {
    const reader = request.body?.getReader();
    await reader?.read();
    await released;
    for (let read = await reader?.read(); read && !read.done; read = await reader?.read());
    return new Response();
  };
  const size = 40_000_000;
  const { socket, answer } = await openUpload(multipartType, `content-length: ${form(clip(size)).length}`);
  socket.write(form(clip(size)));
  await Bun.sleep(1500);
  // What fits into the buffers of the way; the rest is with the client still.
  expect(socket.writableLength).toBeGreaterThan(5_000_000);
  release();
  await until(() => answer().includes("video_id"), 20_000);
  expect(answer()).toContain('"status_code":0');
  socket.destroy();
}, 30_000);

test("answers 503 when the store hangs up in the middle", async () => {
  const fragile = startFixtureStore();
  fixture.origin.answer({ admitVideo: () => fragile.admit("raw/1") });
  fragile.answer = async (request) => {
    await request.body?.getReader().read();
    setTimeout(() => void fragile.stop(), 10);
    await Bun.sleep(1000);
    return new Response();
  };
  const { status, json } = await fixture.call("/publish/action/", post(form(clip(30_000_000))));
  expect(status).toBe(503);
  expect(json).toEqual({ status_code: 15002, status_msg: expect.stringContaining("try again"), video_id: 0 });
});

test("answers 503 when there is no store", async () => {
  const gone = startFixtureStore();
  fixture.origin.answer({ admitVideo: () => gone.admit("raw/1") });
  await gone.stop();
  const { status, json } = await fixture.call("/publish/action/", post(form(clip(30_000_000))));
  expect(status).toBe(503);
  expect(json["status_code"]).toBe(Reason.UNAVAILABLE);
  expect(JSON.stringify(fixture.log)).not.toContain("secret");
});
