import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";

import { errorToJson } from "@connectrpc/connect/protocol-connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { type Fixture, otherToken, startFixture, until, viewerToken } from "../testing.ts";

const maxUploadBytes = 50_000_000;

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture({ MAX_UPLOAD_BYTES: String(maxUploadBytes) });
});
afterAll(() => fixture.stop());

const done = () => Response.json({ videoId: "9007199254740991" });

function refusal(status: number, reason: Reason, message: string): Response {
  return Response.json(errorToJson(flickError(reason, message), undefined), { status });
}

interface SeenUpload {
  url: URL;
  headers: Headers;
  bytes: number;
  hash: string;
}

/** Reads uploads to their end. */
function takeUploads(): SeenUpload[] {
  const seen: SeenUpload[] = [];
  fixture.origin.answer({
    async publish(request) {
      const hasher = new Bun.CryptoHasher("sha256");
      let bytes = 0;
      for await (const chunk of request.body ?? []) {
        hasher.update(chunk);
        bytes += chunk.byteLength;
      }
      seen.push({ url: new URL(request.url), headers: request.headers, bytes, hash: hasher.digest("hex") });
      return done();
    },
  });
  return seen;
}

function file(bytes: number): { body: Buffer; type: string; hash: string } {
  const body = Buffer.alloc(bytes, "flick");
  return {
    body,
    type: "multipart/form-data; boundary=b",
    hash: new Bun.CryptoHasher("sha256").update(body).digest("hex"),
  };
}

/** Sends a request's head and leaves the rest to the test. */
async function openUpload(...headers: string[]): Promise<{ socket: Socket; answer: () => string }> {
  const { hostname, port } = new URL(fixture.gateway.url);
  const socket = connect(Number(port), hostname);
  let answer = "";
  socket.on("data", (data: Buffer) => (answer += data.toString()));
  socket.on("error", () => {});
  socket.write(["POST /douyin/publish/action/ HTTP/1.1", "host: gateway", ...headers, "", ""].join("\r\n"));
  return { socket, answer: () => answer };
}

const multipartType = "content-type: multipart/form-data; boundary=b";

test("passes the body on as it is, with its length and type", async () => {
  const seen = takeUploads();
  const { body, type, hash } = file(5_000_001);
  for (const path of ["/publish/action", "/publish/action/"]) {
    const { status, json } = await fixture.call(path, { method: "POST", body, headers: { "content-type": type } });
    expect(status).toBe(200);
    expect(json).toEqual({ status_code: 0, status_msg: "success", video_id: 9007199254740991 });
  }
  for (const upload of seen) {
    expect(upload.hash).toBe(hash);
    expect(upload.url.pathname + upload.url.search).toBe("/flick.video.v1.VideoService/Publish");
    expect(upload.headers.get("content-length")).toBe("5000001");
    expect(upload.headers.get("content-type")).toBe(type);
    expect(upload.headers.get("authorization")).toBeNull();
  }
  expect(seen).toHaveLength(2);
});

test("passes a body of unknown length on in chunks", async () => {
  const seen = takeUploads();
  const { type } = file(0);
  let left = 50;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left-- === 0) controller.close();
      else controller.enqueue(new Uint8Array(100_000));
    },
  });
  const { json } = await fixture.call("/publish/action/", { method: "POST", body, headers: { "content-type": type } });
  expect(json["status_code"]).toBe(0);
  expect(seen[0]?.bytes).toBe(5_000_000);
  expect(seen[0]?.headers.get("content-length")).toBeNull();
});

test("the origin gets the first bytes while the client still holds back the last", async () => {
  const { promise: first, resolve } = Promise.withResolvers<number>();
  fixture.origin.answer({
    async publish(request) {
      for await (const chunk of request.body ?? []) resolve(chunk.byteLength);
      return done();
    },
  });
  const { socket, answer } = await openUpload(multipartType, "content-length: 20");
  socket.write("0123456789");
  expect(await first).toBeGreaterThan(0);
  expect(answer()).toBe("");
  socket.write("0123456789");
  await until(() => answer().includes("video_id"));
  socket.destroy();
});

test("passes on a token and a title from where only the gateway sees them, and the request's id", async () => {
  const seen = takeUploads();
  const { body, type } = file(100);
  const headers = { "content-type": type };
  const title = encodeURIComponent("a 🎬 & b");
  const { headers: answered } = await fixture.call(`/publish/action/?token=${viewerToken}&title=${title}`, {
    method: "POST",
    body,
    headers,
  });
  await fixture.call(`/publish/action/?token=${viewerToken}`, {
    method: "POST",
    body,
    headers: { ...headers, authorization: `Bearer ${otherToken}` },
  });
  expect(seen.map((upload) => [upload.headers.get("authorization"), upload.url.searchParams.get("title")])).toEqual([
    [`Bearer ${viewerToken}`, "a 🎬 & b"],
    [`Bearer ${otherToken}`, null],
  ]);
  expect(seen[0]?.url.searchParams.has("token")).toBe(false);
  expect([seen[0]?.headers.get("x-request-id")]).toEqual([answered.get("x-request-id")]);
});

test("does not pass on what else the client sends, such as `expect` and service tokens", async () => {
  const seen = takeUploads();
  const { socket, answer } = await openUpload(
    multipartType,
    "content-length: 5",
    "expect: 100-continue",
    "x-flick-service-token: forged",
    "cookie: a=b",
  );
  socket.write("flick");
  await until(() => answer().includes("video_id"));
  socket.destroy();
  const headers = seen[0]?.headers;
  expect(["expect", "x-flick-service-token", "cookie"].map((name) => headers?.get(name))).toEqual([null, null, null]);
});

test("refuses a file over the limit by its declared length, before a byte of it", async () => {
  const seen = takeUploads();
  const { socket, answer } = await openUpload(multipartType, `content-length: ${maxUploadBytes + 65_537}`);
  await until(() => answer().includes("video_id"));
  socket.destroy();
  expect(answer()).toStartWith("HTTP/1.1 413");
  expect(answer()).toContain(
    `{"status_code":10004,"status_msg":"The file may have at most ${maxUploadBytes} bytes.","video_id":0}`,
  );
  expect(seen).toEqual([]);
});

test("lets a file of just the limit through, whose body has other fields too", async () => {
  const seen = takeUploads();
  const { body, type } = file(maxUploadBytes + 65_536);
  const { status } = await fixture.call("/publish/action/", {
    method: "POST",
    body,
    headers: { "content-type": type },
  });
  expect(status).toBe(200);
  expect(seen[0]?.bytes).toBe(maxUploadBytes + 65_536);
});

test.each([
  ["JSON", { body: "{}", headers: { "content-type": "application/json" } }],
  ["a form", { body: "title=a", headers: { "content-type": "application/x-www-form-urlencoded" } }],
  ["a bare file", { body: new Uint8Array(10), headers: { "content-type": "video/mp4" } }],
  ["nothing", {}],
])("refuses %s with 415", async (_what, init) => {
  const seen = takeUploads();
  const { status, json } = await fixture.call("/publish/action/", { method: "POST", ...init });
  expect(status).toBe(415);
  expect(json).toEqual({ status_code: 10005, status_msg: "The body must be multipart/form-data.", video_id: 0 });
  expect(seen).toEqual([]);
});

test.each<[number, Reason, number]>([
  [401, Reason.UNAUTHENTICATED, 401],
  [400, Reason.TOO_LARGE, 413],
  [400, Reason.NOT_A_VIDEO, 200],
  [400, Reason.MISSING_FILE, 200],
  [400, Reason.INVALID_PARAMETER, 200],
  [503, Reason.UNAVAILABLE, 503],
  [504, Reason.TIMEOUT, 504],
])("relays HTTP %i with reason %i as HTTP %i", async (from, reason, to) => {
  fixture.origin.answer({
    async publish(request) {
      await request.arrayBuffer();
      return refusal(from, reason, "the words");
    },
  });
  const { body, type } = file(1000);
  const { status, json } = await fixture.call("/publish/action/", {
    method: "POST",
    body,
    headers: { "content-type": type },
  });
  expect(status).toBe(to);
  expect(json).toEqual({ status_code: reason, status_msg: "the words", video_id: 0 });
});

test.each<[string, () => Response, number, Reason]>([
  ["a proxy's 503", () => new Response("<html>secret</html>", { status: 503 }), 503, Reason.UNAVAILABLE],
  ["a proxy's 413", () => new Response("<html>secret</html>", { status: 413 }), 413, Reason.TOO_LARGE],
  ["a path that is not there", () => new Response("secret", { status: 404 }), 500, Reason.INTERNAL],
  [
    "an unknown exception",
    () => Response.json({ code: "internal", message: "secret" }, { status: 500 }),
    500,
    Reason.INTERNAL,
  ],
  ["a success that is none", () => new Response("secret"), 500, Reason.INTERNAL],
  ["a success of another shape", () => Response.json(["secret"]), 500, Reason.INTERNAL],
  ["an error of another shape", () => Response.json({ code: 7, message: 7 }, { status: 500 }), 500, Reason.INTERNAL],
  ["a redirect", () => Response.redirect("http://127.0.0.1:1/secret", 307), 500, Reason.INTERNAL],
])("says nothing of what is behind %s", async (_what, respond, status, reason) => {
  fixture.origin.answer({
    async publish(request) {
      await request.arrayBuffer();
      return respond();
    },
  });
  const { body, type } = file(1000);
  const answer = await fixture.call("/publish/action/", { method: "POST", body, headers: { "content-type": type } });
  expect(answer.status).toBe(status);
  expect(answer.json).toEqual({ status_code: reason, status_msg: expect.not.stringContaining("secret"), video_id: 0 });
});

test.each([
  ["of known length", "content-length: 40000000", (text: string) => text],
  ["in chunks", "transfer-encoding: chunked", (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`],
])("relays a refusal at once while the body %s is still on its way", async (_how, header, frame) => {
  fixture.origin.answer({
    async publish(request) {
      // As a parser does that has seen enough.
      await request.body?.getReader().read();
      return refusal(401, Reason.UNAUTHENTICATED, "sign in first");
    },
  });
  const { socket, answer } = await openUpload(multipartType, header);
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

test("hears the origin's refusal even while the client sends as fast as it can", async () => {
  fixture.origin.answer({
    async publish(request) {
      await request.body?.getReader().read();
      return refusal(401, Reason.UNAUTHENTICATED, "sign in first");
    },
  });
  const { body, type } = file(20_000_000);
  fixture.log.length = 0;
  const turns = 10;
  for (let turn = 0; turn < turns; turn++) {
    // A client that is busy sending may miss the answer: workerd closes the connection right after it.
    await fixture.call("/publish/action/", { method: "POST", body, headers: { "content-type": type } }).catch(() => {});
  }
  const statuses = () => fixture.log.flatMap((line) => (line["message"] === "request" ? [line["status"]] : []));
  await until(() => statuses().length === turns);
  expect(statuses()).toEqual(Array.from({ length: turns }, () => 401));
});

test("cancels the origin's work when the client goes away in the middle", async () => {
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  const { promise: canceled, resolve: cancel } = Promise.withResolvers<string>();
  fixture.origin.answer({
    async publish(request) {
      try {
        for await (const chunk of request.body ?? []) if (chunk.byteLength > 0) start();
        cancel("read to its end");
      } catch {
        cancel("cut off");
      }
      return done();
    },
  });
  const { socket } = await openUpload(multipartType, "content-length: 1000000");
  socket.write("x".repeat(1000));
  await started;
  socket.destroy();
  expect(await canceled).toBe("cut off");
});

test("answers 503 when the origin hangs up in the middle", async () => {
  const { body, type } = file(30_000_000);
  const fragile = await startFixture();
  fragile.origin.answer({
    async publish(request) {
      await request.body?.getReader().read();
      setTimeout(() => void fragile.origin.stop(), 10);
      await Bun.sleep(1000);
      return done();
    },
  });
  const { status, json } = await fragile.call("/publish/action/", {
    method: "POST",
    body,
    headers: { "content-type": type },
  });
  await fragile.stop();
  expect(status).toBe(503);
  expect(json).toEqual({ status_code: 15002, status_msg: expect.stringContaining("try again"), video_id: 0 });
});
