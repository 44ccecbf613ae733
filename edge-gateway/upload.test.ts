import { expect, test } from "bun:test";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { anyOrigin } from "./balanced-fetch.ts";
import { startFixtureOrigin } from "./testing.ts";
import { createUploadRelay, videoUpload } from "./upload.ts";

const upload = {
  body: null,
  contentType: "multipart/form-data; boundary=b",
  contentLength: undefined,
  text: undefined,
  token: undefined,
  requestId: "r",
  signal: new AbortController().signal,
};

/** How an upload ends whose origin never answers. */
async function fate(contentLength: number, limits: { answerTimeoutMs: number; slowestBytesPerMs: number }) {
  const origin = startFixtureOrigin();
  origin.answer({ publish: () => new Promise(() => {}) });
  const started = performance.now();
  const error: unknown = await createUploadRelay(
    (url, init) => fetch(origin.url + url.slice(anyOrigin.length), init),
    videoUpload,
    limits,
  )({ ...upload, contentLength }).catch((problem: unknown) => problem);
  const ms = performance.now() - started;
  await origin.stop();
  return { reason: reasonOf(error), ms };
}

test("an origin that never answers is given up after the time to answer", async () => {
  const { reason, ms } = await fate(0, { answerTimeoutMs: 100, slowestBytesPerMs: 1 });
  expect(reason).toBe(Reason.TIMEOUT);
  expect(ms).toBeWithin(90, 1000);
});

test("a longer body has more time", async () => {
  const { reason, ms } = await fate(5000, { answerTimeoutMs: 100, slowestBytesPerMs: 10 });
  expect(reason).toBe(Reason.TIMEOUT);
  expect(ms).toBeWithin(590, 2000);
});
