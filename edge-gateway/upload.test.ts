import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { create } from "@bufbuild/protobuf";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { AdmittedFileSchema } from "@flick/proto/gen/flick/upload/v1/admitted_file_pb.ts";

import { startFixtureStore, until, type FixtureStore } from "./testing.ts";
import { createUploader, type Upload, type UploadKind } from "./upload.ts";

let store: FixtureStore;
beforeAll(() => void (store = startFixtureStore()));
afterAll(() => store.stop());

const begin = '--b\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n';
const whole = `${begin}${"x".repeat(1000)}\r\n--b--\r\n`;

/** A body whose end never comes. */
function stalled(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from(`${begin}${"x".repeat(1000)}`)) });
}

const uploadOf = (body: ReadableStream<Uint8Array> | null, more: Partial<Upload> = {}): Upload => ({
  body,
  contentType: "multipart/form-data; boundary=b",
  contentLength: 0,
  maxFileBytes: 100_000,
  text: undefined,
  token: "t",
  bodyWins: false,
  requestId: "r",
  signal: new AbortController().signal,
  inBackground() {},
  ...more,
});

const kind: UploadKind<string> = {
  fileFields: ["data"],
  text: "title",
  assumedLength: 0,
  admit: async () => create(AdmittedFileSchema, store.admit("raw/1")),
  commit: async () => "done",
};

const limits = { answerTimeoutMs: 100, stallMs: 60_000, slowestBytesPerMs: 1, maxUploads: 64, maxUnknownSenders: 16 };

async function fate(uploading: Promise<unknown>) {
  const started = performance.now();
  const reason = await uploading.then(
    () => "done",
    (error: unknown) => Reason[reasonOf(error)],
  );
  return { reason, ms: performance.now() - started };
}

describe("an upload is given up after the time that it may take, when", () => {
  const never = () => new Promise<never>(() => {});
  test.each<[string, Partial<UploadKind<string>>, () => ReadableStream<Uint8Array> | null]>([
    ["the origin never answers", { admit: never }, () => new Response(whole).body],
    ["the origin never answers in the end", { commit: never }, () => new Response(whole).body],
    ["its client sends no more", {}, stalled],
  ])("%s", async (_why, changes, body) => {
    const upload = createUploader({ ...kind, ...changes }, limits);
    const { reason, ms } = await fate(upload(uploadOf(body())));
    expect(reason).toBe("TIMEOUT");
    expect(ms).toBeWithin(50, 2000);
  });

  test("the store never answers, and nothing is left", async () => {
    const slow = { ...kind, admit: async () => create(AdmittedFileSchema, store.admit("raw/slow")) };
    store.answer = async (request) => {
      if (request.method === "PUT") await new Promise(() => {});
      store.seen.push(new URL(request.url).pathname);
      return new Response(null, { status: 204 });
    };
    const { reason } = await fate(createUploader(slow, limits)(uploadOf(new Response(whole).body)));
    expect(reason).toBe("TIMEOUT");
    await until(() => store.seen.includes("/raw/slow"));
    store.answer = undefined;
  });

  test.each([
    ["takes no more of a file", 20_000_000],
    ["never answers to a whole one", 1_000],
  ])("the store %s, however long the body may take", async (_what, bytes) => {
    const key = `raw/stalled-${bytes}`;
    const stalling = { ...kind, admit: async () => create(AdmittedFileSchema, store.admit(key)) };
    store.answer = async (request) => {
      if (request.method === "PUT") await new Promise(() => {});
      store.seen.push(new URL(request.url).pathname);
      return new Response(null, { status: 204 });
    };
    const form = new Response(`${begin}${"x".repeat(bytes)}\r\n--b--\r\n`).body;
    const upload = createUploader(stalling, { ...limits, answerTimeoutMs: 60_000, stallMs: 300 });
    const { reason, ms } = await fate(upload(uploadOf(form, { maxFileBytes: 2 * bytes })));
    expect(reason).toBe("UNAVAILABLE");
    expect(ms).toBeWithin(290, 10_000);
    await until(() => store.seen.includes(`/${key}`));
    store.answer = undefined;
  });

  test("a longer body has more time", async () => {
    const upload = createUploader({ ...kind, admit: never }, { ...limits, slowestBytesPerMs: 10 });
    const { reason, ms } = await fate(upload(uploadOf(new Response(whole).body, { contentLength: 5000 })));
    expect(reason).toBe("TIMEOUT");
    expect(ms).toBeWithin(590, 2500);
  });
});

describe("of uploads at once", () => {
  test("there are only so many, and fewer of senders that nobody knows yet", async () => {
    const some = { ...limits, answerTimeoutMs: 60_000, maxUploads: 3, maxUnknownSenders: 1 };
    const upload = createUploader(kind, some);
    const leaving = new AbortController();
    const { signal } = leaving;
    const open = [undefined, "t"].map((token) => fate(upload(uploadOf(stalled(), { token, signal }))));
    const stranger = () => fate(upload(uploadOf(new Response(whole).body, { token: undefined })));
    const known = () => fate(upload(uploadOf(new Response(whole).body)));
    expect((await stranger()).reason).toBe("BUSY");
    expect((await known()).reason).toBe("done");
    open.push(fate(upload(uploadOf(stalled(), { signal }))));
    expect((await known()).reason).toBe("BUSY");
    leaving.abort();
    await Promise.all(open);
    await until(async () => (await known()).reason === "done");
    // Without a token it is taken in, and refused in the end.
    expect((await stranger()).reason).toBe("UNAUTHENTICATED");
  });

  test("one whose end was never seen counts no longer than it may last", async () => {
    const upload = createUploader({ ...kind, commit: () => new Promise(() => {}) }, { ...limits, maxUploads: 1 });
    const lost = fate(upload(uploadOf(new Response(whole).body)));
    expect((await fate(upload(uploadOf(new Response(whole).body)))).reason).toBe("BUSY");
    await lost;
    await Bun.sleep(10);
    expect((await fate(upload(uploadOf(new Response(whole).body)))).reason).toBe("TIMEOUT");
  });
});
