import { describe, expect, test } from "bun:test";

import { readLimitedBody } from "./limited-body.ts";

/** A body that begins with so many bytes and then goes on for ever, but for its reader's word. */
function endless(bytes: number): { stream: ReadableStream<Uint8Array>; cancelled: Promise<void> } {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new Uint8Array(bytes)),
    cancel: () => resolve(),
  });
  return { stream, cancelled };
}

describe("a body that is too long is given up at once", () => {
  test.each([
    ["by its declared length", 0, { "content-length": "11" }],
    ["by what has come of it", 11, {}],
    ["by what it is unpacked, whatever its declared length", 11, { "content-length": "5", "content-encoding": "gzip" }],
  ])("%s", async (_name, bytes, headers) => {
    const { stream, cancelled } = endless(bytes);
    expect(await readLimitedBody(new Response(stream, { headers }), 10)).toBeNull();
    await cancelled;
  });
});

test.each([
  ["of declared length", { "content-length": "10" }],
  ["of unknown length", {}],
])("the longest body is read, %s", async (_name, headers) => {
  const body = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(await readLimitedBody(new Response(body, { headers }), 10)).toEqual(body);
  expect(await readLimitedBody(new Response(body, { headers }), 9)).toBeNull();
});

test("no body is an empty one", async () => {
  expect(await readLimitedBody(new Response(null), 10)).toEqual(new Uint8Array());
});
