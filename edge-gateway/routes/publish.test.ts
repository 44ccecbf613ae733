import { expect, test } from "bun:test";

import { Code, ConnectError } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { otherToken, until, viewerToken } from "../testing.ts";
import {
  beginFile,
  clip,
  end,
  endOfFile,
  field,
  form,
  maxUploadBytes,
  multipartType,
  post,
  setUpPublishTests,
} from "../testing-publish.ts";

const t = setUpPublishTests();
const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

test("stores the file as it is, with the type that the service says, and publishes it", async () => {
  const { admitted, published } = t.takeUploads();
  const file = clip(5_000_001);
  for (const path of ["/publish/action", "/publish/action/"]) {
    const { status, json } = await t.fixture.call(path, post(form(file, field("title", "My 🎬 day"))));
    expect(json).toEqual({ status_code: 0, status_msg: "success", video_id: 9007199254740991 });
    expect(status).toBe(200);
  }
  expect([...t.store.objects]).toMatchObject([
    ["raw/1", { bytes: file.length, hash: sha256(file) }],
    ["raw/2", { bytes: file.length, hash: sha256(file) }],
  ]);
  const { headers } = t.store.objects.get("raw/1") ?? {};
  expect([headers?.get("content-type"), headers?.get("authorization")]).toEqual(["video/mp4", null]);
  expect(Buffer.from(admitted[0]?.head ?? []).equals(file.subarray(0, 64))).toBe(true);
  expect(admitted[0]?.title).toBeUndefined();
  expect(published[0]).toMatchObject({ ticket: "ticket of raw/1", title: "My 🎬 day" });
});

test("takes a body of unknown length, in pieces of any size", async () => {
  t.takeUploads();
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
  const { json } = await t.fixture.call("/publish/action/", post(body));
  expect(json["status_code"]).toBe(0);
  expect(t.store.objects.get("raw/1")).toMatchObject({ bytes: file.length, hash: sha256(file) });
});

test("the store gets the first bytes while the client still holds back the last", async () => {
  t.takeUploads();
  const rest = `${endOfFile}${end}`;
  const { socket, answer } = await t.openUpload(
    multipartType,
    `content-length: ${beginFile.length + 200 + rest.length}`,
  );
  const before = t.store.taken();
  socket.write(beginFile);
  socket.write("x".repeat(150));
  await until(() => t.store.taken() === before + 150);
  socket.write("x".repeat(50));
  await until(() => t.store.taken() === before + 200);
  expect(answer()).toBe("");
  socket.write(rest);
  await until(() => answer().includes("video_id"));
  socket.destroy();
  expect(t.store.objects.get("raw/1")?.bytes).toBe(200);
});

test("finds the token and the title wherever they are, and hands on the request's id", async () => {
  const { admitted, published } = t.takeUploads();
  const body = form(clip(100));
  const title = encodeURIComponent("a 🎬 & b");
  const { headers } = await t.fixture.call(`/publish/action/?token=${viewerToken}&title=${title}`, post(body, {}));
  await t.fixture.call(`/publish/action/?token=${viewerToken}`, post(body, { authorization: `Bearer ${otherToken}` }));
  await t.fixture.call(
    `/publish/action/?title=${title}`,
    post(field("token", otherToken) + field("title", "before") + form(clip(100)).toString("latin1"), {}),
  );
  await t.fixture.call("/publish/action/", post(form(clip(100), field("token", viewerToken), field("title", "t")), {}));
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
  const { admitted, published } = t.takeUploads();
  const query = `/publish/action/?token=${viewerToken}&title=query`;
  const fields = [field("token", otherToken), field("title", "form"), field("title", "again")].join("");
  const inForm = () => Buffer.concat([Buffer.from(fields), form(clip(100))]);
  await t.fixture.call(query, post(inForm(), {}));
  await t.fixture.call(query, post(inForm(), { authorization: `Bearer ${viewerToken}` }));
  const callers = [admitted, published].map((calls) => calls.map(({ headers }) => headers.get("authorization")));
  const [others, viewers] = [otherToken, viewerToken].map((token) => `Bearer ${token}`);
  expect(callers).toEqual([
    [others, viewers],
    [others, viewers],
  ] as string[][]);
  expect(published.map(({ title }) => title)).toEqual(["form", "form"]);
});

test("does not pass on what else the client sends, such as `expect` and service tokens", async () => {
  const { admitted, published } = t.takeUploads();
  const { socket, answer } = await t.openUpload(
    multipartType,
    `content-length: ${form(clip(100)).length}`,
    "expect: 100-continue",
    "x-flick-service-token: forged",
    "cookie: a=b",
  );
  socket.write(form(clip(100)));
  await until(() => answer().includes("video_id"));
  socket.destroy();
  const all = [admitted[0]?.headers, published[0]?.headers, t.store.objects.get("raw/1")?.headers];
  for (const headers of all) {
    expect(headers).toBeDefined();
    expect(["expect", "x-flick-service-token", "cookie"].map((name) => headers?.get(name))).toEqual([null, null, null]);
  }
});

test("refuses a file over the limit by its declared length, before a byte of it", async () => {
  const { admitted } = t.takeUploads();
  const { socket, answer } = await t.openUpload(multipartType, `content-length: ${maxUploadBytes + 65_537}`);
  await until(() => answer().includes("video_id"));
  socket.destroy();
  expect(answer()).toStartWith("HTTP/1.1 413");
  expect(answer()).toContain(
    `{"status_code":10004,"status_msg":"The file may have at most ${maxUploadBytes} bytes.","video_id":0}`,
  );
  expect(admitted).toEqual([]);
});

test("lets a file of just the limit through, and not one of a byte more", async () => {
  t.takeUploads();
  const { status } = await t.fixture.call("/publish/action/", post(form(clip(maxUploadBytes))));
  expect(status).toBe(200);
  expect(t.store.objects.get("raw/1")?.bytes).toBe(maxUploadBytes);
  const large = await t.fixture.call("/publish/action/", post(form(clip(maxUploadBytes + 1))));
  expect(large.status).toBe(413);
  expect(large.json["status_msg"]).toBe(`data: at most ${maxUploadBytes} bytes`);
  expect([...t.store.objects.keys()]).toEqual(["raw/1"]);
});

test("has the service's limit, too, which a declared length shows before a byte is stored", async () => {
  t.fixture.origin.answer({ admitVideo: () => ({ ...t.store.admit("raw/1"), maxBytes: 100_000n }) });
  for (const size of [100_001, 300_000]) {
    const { status, json } = await t.fixture.call("/publish/action/", post(form(clip(size))));
    expect([status, json["status_msg"]]).toEqual([413, "data: at most 100000 bytes"]);
  }
  await until(() => t.store.seen.length === 2);
  expect(t.store.seen.toSorted()).toEqual(["DELETE raw/1", "cut raw/1"]);
});

test.each([
  ["JSON", { body: "{}", headers: { "content-type": "application/json" } }],
  ["a form", { body: "title=a", headers: { "content-type": "application/x-www-form-urlencoded" } }],
  ["a bare file", { body: new Uint8Array(10), headers: { "content-type": "video/mp4" } }],
  ["nothing", {}],
])("refuses %s with 415", async (_what, init) => {
  const { admitted } = t.takeUploads();
  const { status, json } = await t.fixture.call("/publish/action/", { method: "POST", ...init });
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
    t.takeUploads(calls);
    const { status, json } = await t.fixture.call("/publish/action/", post(form(clip(1000))));
    expect(status).toBe(to);
    expect(json).toEqual({ status_code: reason, status_msg: "the words", video_id: 0 });
  }
});

test("a file that is refused in the end is deleted; one of which nobody knows whether it is published stays", async () => {
  t.takeUploads({ publish: () => flickError(Reason.INVALID_PARAMETER, "title: too long") });
  await t.fixture.call("/publish/action/", post(form(clip(1000))));
  expect(t.store.seen).toEqual(["PUT raw/1", "DELETE raw/1"]);
  t.takeUploads({ publish: () => new ConnectError("down", Code.Unavailable) });
  await t.fixture.call("/publish/action/", post(form(clip(1000))));
  expect(t.store.seen.slice(2)).toEqual(["PUT raw/1"]);
});
