import { expect, test } from "bun:test";

import { readBody } from "./read-body.ts";

const limits = { maxBytes: 1000, timeoutMs: 200 };

function streamed(pull: (controller: ReadableStreamDefaultController<Uint8Array>) => void, cancel = () => {}): Request {
  return new Request("http://gateway/", { method: "POST", body: new ReadableStream({ pull, cancel }) });
}

test("joins the chunks of a body", async () => {
  const texts = ["one", "", "two"];
  const request = streamed((controller) => {
    const text = texts.shift();
    if (text === undefined) controller.close();
    else controller.enqueue(new TextEncoder().encode(text));
  });
  expect(new TextDecoder().decode(await readBody(request, limits))).toBe("onetwo");
});

test("reads a body a little over the limit to its end before it refuses it", async () => {
  let left = 10;
  const request = streamed((controller) => {
    if (left-- === 0) controller.close();
    else controller.enqueue(new Uint8Array(101));
  });
  await expect(readBody(request, limits)).rejects.toThrow("at most 1000 bytes");
  expect(left).toBe(-1);
});

test("stops reading a body without a declared length far over the limit", async () => {
  let pulled = 0;
  const { promise: canceled, resolve } = Promise.withResolvers<void>();
  const request = streamed((controller) => {
    pulled += 300_000;
    controller.enqueue(new Uint8Array(300_000));
  }, resolve);
  await expect(readBody(request, limits)).rejects.toThrow("at most 1000 bytes");
  await canceled;
  expect(pulled).toBeLessThan(3_000_000);
});

function declared(length: number): Request {
  const body = new ReadableStream<Uint8Array>();
  return new Request("http://gateway/", { method: "POST", body, headers: { "content-length": String(length) } });
}

test("refuses a body that declares itself far over the limit without reading it", async () => {
  const request = declared(2 * 1024 * 1024 + 1);
  const started = performance.now();
  await expect(readBody(request, { ...limits, timeoutMs: 60_000 })).rejects.toThrow("at most 1000 bytes");
  expect(performance.now() - started).toBeLessThan(1000);
  expect(request.body?.locked).toBe(false);
});

test("does not wait long for a body that it refuses anyway", async () => {
  const started = performance.now();
  await expect(readBody(declared(1001), { ...limits, timeoutMs: 60_000 })).rejects.toThrow("at most 1000 bytes");
  expect(performance.now() - started).toBeLessThan(2000);
});

test("gives up a body that does not arrive in time", async () => {
  const request = streamed(() => {});
  await expect(readBody(request, limits)).rejects.toThrow("within 0.2 s");
});
