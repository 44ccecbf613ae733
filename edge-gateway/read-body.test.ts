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

test("stops reading a body without a declared length at the limit", async () => {
  let pulled = 0;
  const { promise: canceled, resolve } = Promise.withResolvers<void>();
  const request = streamed((controller) => {
    pulled += 300;
    controller.enqueue(new Uint8Array(300));
  }, resolve);
  await expect(readBody(request, limits)).rejects.toThrow("at most 1000 bytes");
  await canceled;
  expect(pulled).toBeLessThan(3000);
});

test("refuses a body by its declared length without reading it", async () => {
  const request = new Request("http://gateway/", { method: "POST", body: "x", headers: { "content-length": "1001" } });
  await expect(readBody(request, limits)).rejects.toThrow("at most 1000 bytes");
  expect(request.bodyUsed).toBe(false);
});

test("gives up a body that does not arrive in time", async () => {
  const request = streamed(() => {});
  await expect(readBody(request, limits)).rejects.toThrow("within 0.2 s");
});
