import { afterAll, beforeAll, expect, test } from "bun:test";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { startFixture, viewerToken, type Fixture } from "../testing.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.stop());

const sha256 = "ab".repeat(32);
const json = (body: object): RequestInit => ({
  method: "POST",
  body: JSON.stringify(body),
  headers: { "content-type": "application/json", authorization: `Bearer ${viewerToken}` },
});
const nothing = {
  upload_id: 0,
  video_id: 0,
  part_size: 0,
  content_type: "",
  uploaded_parts: [],
  parts: [],
  urls_expire_at: 0,
  expires_at: 0,
};

test("an upload is begun with what the file is, and answered with where its parts go", async () => {
  const asked: unknown[] = [];
  fixture.origin.answer({
    beginUpload({ uploadId, title, size, contentType, sha256: hash }, { requestHeader }) {
      asked.push([uploadId, title, size, contentType, hash, requestHeader.get("authorization")]);
      return {
        uploadId: 7n,
        partBytes: 8n,
        contentType: "video/webm",
        storedParts: [1, 3],
        missingParts: [{ number: 2, size: 8n, url: "http://store/raw/7?partNumber=2" }],
        urlsExpireMs: 1000n,
        expiresMs: 2000n,
      };
    },
  });
  const file = { title: "My day", size: 20, content_type: "video/webm", sha256 };
  const { status, json: answer } = await fixture.call("/upload/", json(file));
  expect(status).toBe(200);
  expect(answer).toEqual({
    status_code: 0,
    status_msg: "success",
    upload_id: 7,
    video_id: 0,
    part_size: 8,
    content_type: "video/webm",
    uploaded_parts: [1, 3],
    parts: [{ part_number: 2, size: 8, url: "http://store/raw/7?partNumber=2" }],
    urls_expire_at: 1000,
    expires_at: 2000,
  });
  await fixture.call(`/upload?upload_id=7&token=${viewerToken}`, { method: "POST" });
  expect(asked).toEqual([
    [0n, "My day", 20n, "video/webm", sha256, `Bearer ${viewerToken}`],
    [7n, "", 0n, "", "", `Bearer ${viewerToken}`],
  ]);
});

test("an upload is completed and aborted by its id", async () => {
  const asked: bigint[] = [];
  fixture.origin.answer({
    completeUpload({ uploadId }) {
      asked.push(uploadId);
      return { videoId: 9n };
    },
    abortUpload({ uploadId }) {
      asked.push(uploadId);
      return {};
    },
  });
  const completed = await fixture.call("/upload/complete/", json({ upload_id: 7 }));
  expect(completed.json).toEqual({ status_code: 0, status_msg: "success", video_id: 9 });
  const aborted = await fixture.call("/upload/abort/", json({ upload_id: 8 }));
  expect(aborted.json).toEqual({ status_code: 0, status_msg: "success" });
  expect(asked).toEqual([7n, 8n]);
});

test("refusals carry their reason and the empty fields", async () => {
  fixture.origin.answer({
    beginUpload: () => Promise.reject(flickError(Reason.TOO_LARGE, "size: at most 5 bytes")),
    completeUpload: () => Promise.reject(flickError(Reason.UPLOAD_INCOMPLETE, "1 of 2 parts are missing")),
  });
  const begun = await fixture.call("/upload/", json({ title: "t", size: 6 }));
  expect(begun).toMatchObject({ status: 413 });
  expect(begun.json).toEqual({ status_code: 10004, status_msg: "size: at most 5 bytes", ...nothing });
  const completed = await fixture.call("/upload/complete/", json({ upload_id: 7 }));
  expect(completed).toMatchObject({ status: 200 });
  expect(completed.json).toEqual({ status_code: 30006, status_msg: "1 of 2 parts are missing", video_id: 0 });
  const unnamed = await fixture.call("/upload/complete/", json({}));
  expect(unnamed.json).toEqual({ status_code: 10001, status_msg: "upload_id is missing.", video_id: 0 });
});
