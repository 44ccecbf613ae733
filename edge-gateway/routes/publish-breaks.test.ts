import { expect, test } from "bun:test";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { startFixtureStore, until } from "../testing.ts";
import { beginFile, clip, endOfFile, field, form, multipartType, post, setUpPublishTests } from "../testing-publish.ts";

const t = setUpPublishTests();

test.each<[string, Buffer]>([
  ["ends early", form(clip(1000)).subarray(0, -3)],
  ["has a second file", form(clip(1000), beginFile, "another", endOfFile)],
  ["has a field that is too long", form(clip(1000), field("title", "x".repeat(5000)))],
  ["goes on after its end", Buffer.concat([form(clip(1000)), Buffer.alloc(10_000)])],
])("of a form that %s nothing stays", async (_what, body) => {
  const { published } = t.takeUploads();
  const { json } = await t.fixture.call("/publish/action/", post(body));
  expect(json["status_code"]).toBe(Reason.INVALID_PARAMETER);
  expect([...t.store.objects]).toEqual([]);
  expect(published).toEqual([]);
});

test.each<[string, () => Response]>([
  ["a refusal", () => new Response("<Message>secret</Message>", { status: 403 })],
  ["a fault", () => new Response("secret", { status: 500 })],
  ["a redirect", () => Response.redirect("http://127.0.0.1:1/secret", 307)],
  ["an answer that is no OSS's", () => new Response("secret", { status: 202 })],
])("says nothing of what is behind %s of the store, and calls it an outage", async (_what, respond) => {
  t.takeUploads();
  t.store.answer = async (request) => {
    await request.arrayBuffer();
    return respond();
  };
  const { status, json } = await t.fixture.call("/publish/action/", post(form(clip(1000))));
  expect(status).toBe(503);
  expect(json).toEqual({
    status_code: Reason.UNAVAILABLE,
    status_msg: expect.stringContaining("try again"),
    video_id: 0,
  });
  expect(JSON.stringify(json)).not.toContain("secret");
  expect(JSON.stringify(t.fixture.log)).not.toContain("secret");
});

test.each([
  ["of known length", "content-length: 40000000", (text: string) => text],
  ["in chunks", "transfer-encoding: chunked", (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`],
])("tells a refusal at once while the body %s is still on its way", async (_how, header, frame) => {
  t.takeUploads({ admit: () => flickError(Reason.UNAUTHENTICATED, "sign in first") });
  const { socket, answer } = await t.openUpload(multipartType, header);
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
  t.takeUploads({ admit: () => flickError(Reason.UNAUTHENTICATED, "sign in first") });
  const body = form(clip(20_000_000));
  t.fixture.log.length = 0;
  const turns = 10;
  for (let turn = 0; turn < turns; turn++) {
    // A client that is busy sending may miss the answer: workerd closes the connection right after it.
    await t.fixture.call("/publish/action/", post(body)).catch(() => {});
  }
  const statuses = () => t.fixture.log.flatMap((line) => (line["message"] === "request" ? [line["status"]] : []));
  await until(() => statuses().length === turns);
  expect(statuses()).toEqual(Array.from({ length: turns }, () => 401));
});

test("stores nothing of what its client does not send to the end", async () => {
  const { published } = t.takeUploads();
  const { socket } = await t.openUpload(multipartType, "content-length: 1000000");
  const before = t.store.taken();
  socket.write(beginFile);
  socket.write("x".repeat(1000));
  await until(() => t.store.taken() > before);
  socket.destroy();
  await until(() => t.store.seen.includes("cut raw/1"));
  expect(t.store.objects.size).toBe(0);
  expect(published).toEqual([]);
});

test("takes no more from its client than the store takes", async () => {
  t.takeUploads();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  t.store.answer = async (request) => {
    const reader = request.body?.getReader();
    await reader?.read();
    await released;
    for (let read = await reader?.read(); read && !read.done; read = await reader?.read());
    return new Response();
  };
  const size = 40_000_000;
  const { socket, answer } = await t.openUpload(multipartType, `content-length: ${form(clip(size)).length}`);
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
  t.fixture.origin.answer({ admitVideo: () => fragile.admit("raw/1") });
  fragile.answer = async (request) => {
    await request.body?.getReader().read();
    setTimeout(() => void fragile.stop(), 10);
    await Bun.sleep(1000);
    return new Response();
  };
  const { status, json } = await t.fixture.call("/publish/action/", post(form(clip(30_000_000))));
  expect(status).toBe(503);
  expect(json).toEqual({ status_code: 15002, status_msg: expect.stringContaining("try again"), video_id: 0 });
});

test("answers 503 when there is no store", async () => {
  const gone = startFixtureStore();
  t.fixture.origin.answer({ admitVideo: () => gone.admit("raw/1") });
  await gone.stop();
  const { status, json } = await t.fixture.call("/publish/action/", post(form(clip(30_000_000))));
  expect(status).toBe(503);
  expect(json["status_code"]).toBe(Reason.UNAVAILABLE);
  expect(JSON.stringify(t.fixture.log)).not.toContain("secret");
});
