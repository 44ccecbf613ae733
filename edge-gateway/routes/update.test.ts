import { afterAll, beforeAll, expect, test } from "bun:test";

import { errorToJson } from "@connectrpc/connect/protocol-connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { startFixture, type Fixture, viewerToken } from "../testing.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startFixture({ MAX_UPLOAD_BYTES: "1000000" });
});
afterAll(() => fixture.stop());

const path = "/user/update/";
const user = { id: 7n, name: "zoe", signature: "as it is now" };

/** What the user service was asked for by RPC. */
function takeCalls() {
  const seen: { signature: string | undefined; token: string | null }[] = [];
  fixture.origin.answer({
    updateUser({ signature }, { requestHeader }) {
      seen.push({ signature, token: requestHeader.get("authorization") });
      return { user };
    },
  });
  return seen;
}

const form = (type: string, body: string): RequestInit => ({
  method: "POST",
  body,
  headers: { "content-type": type, authorization: `Bearer ${viewerToken}` },
});
const urlencoded = "application/x-www-form-urlencoded";

test.each<[string, string, RequestInit, string | undefined]>([
  ["a form", path, form(urlencoded, "signature=hello+%F0%9F%91%8B"), "hello 👋"],
  ["JSON", path, form("application/json", '{"signature":"hello"}'), "hello"],
  ["the query", `${path}?signature=hello&token=${viewerToken}`, { method: "POST" }, "hello"],
  ["a form, and is empty", path, form(urlencoded, "signature="), ""],
  ["JSON, and is empty", `${path}?signature=old`, form("application/json", '{"signature":""}'), ""],
  ["nothing", path, form(urlencoded, "other=1"), undefined],
])("a signature comes in %s", async (_where, url, init, signature) => {
  const seen = takeCalls();
  const { status, json } = await fixture.call(url, init);
  expect(status).toBe(200);
  expect(json).toMatchObject({ status_code: 0, status_msg: "success", user: { id: 7, signature: "as it is now" } });
  expect(seen).toEqual([{ signature, token: `Bearer ${viewerToken}` }]);
});

test("multipart is passed on as it is, with a signature that is in the query", async () => {
  const seen: { url: URL; token: string | null; bytes: Buffer }[] = [];
  fixture.origin.answer({
    async uploadProfile(request) {
      const bytes = Buffer.from(await request.arrayBuffer());
      seen.push({ url: new URL(request.url), token: request.headers.get("authorization"), bytes });
      return Response.json({ user: { id: "7", name: "zoe", avatar: "http://oss/a.jpg" } });
    },
  });
  const body = Buffer.alloc(300_000, "flick");
  const headers = { "content-type": "multipart/form-data; boundary=b" };
  const { json } = await fixture.call(`${path}?signature=&token=${viewerToken}`, { method: "POST", body, headers });
  expect(json).toMatchObject({ status_code: 0, user: { id: 7, name: "zoe", avatar: "http://oss/a.jpg" } });
  expect(seen[0]?.bytes.equals(body)).toBe(true);
  expect(seen[0]?.token).toBe(`Bearer ${viewerToken}`);
  expect(seen[0]?.url.searchParams.get("signature")).toBe("");
});

test.each<[Reason, number, string]>([
  [Reason.UNAUTHENTICATED, 401, "sign in first"],
  [Reason.NOT_AN_IMAGE, 200, "avatar: this is not a picture"],
  [Reason.TOO_LARGE, 413, "avatar: at most 10 bytes"],
])("a refusal of the upload is told with an empty user: %d", async (reason, status, message) => {
  const error = Response.json(errorToJson(flickError(reason, message), undefined), { status: 400 });
  fixture.origin.answer({ uploadProfile: () => error });
  const headers = { "content-type": "multipart/form-data; boundary=b" };
  const answer = await fixture.call(path, { method: "POST", body: "x", headers });
  expect(answer.status).toBe(status);
  expect(answer.json).toMatchObject({ status_code: reason, status_msg: message, user: { id: 0, avatar: "" } });
});

test("a body beyond the limit of uploads, and a GET, are refused here", async () => {
  const headers = { "content-type": "multipart/form-data; boundary=b" };
  const large = await fixture.call(path, { method: "POST", body: Buffer.alloc(1_200_000), headers });
  expect(large.status).toBe(413);
  expect((await fixture.call(path)).status).toBe(405);
});
