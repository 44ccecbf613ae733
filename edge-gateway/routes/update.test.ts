import { afterAll, beforeAll, expect, test } from "bun:test";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { startFixture, startFixtureStore, type Fixture, viewerToken } from "../testing.ts";

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

const multipart = { "content-type": "multipart/form-data; boundary=b" };
const file = (name: string, bytes: string) =>
  `--b\r\ncontent-disposition: form-data; name="${name}"; filename="a.png"\r\n\r\n${bytes}\r\n`;

test("multipart brings pictures, each into object storage, and a signature that may be in the query", async () => {
  const store = startFixtureStore();
  const seen: unknown[] = [];
  fixture.origin.answer({
    admitPicture({ field, head, signature }) {
      seen.push([field, head.length, signature]);
      return { ...store.admit(field), contentType: "image/png" };
    },
    updateUser({ avatar, background, signature }, { requestHeader }) {
      seen.push([avatar, background, signature, requestHeader.get("authorization")]);
      return { user: { ...user, avatar: "http://oss/a.jpg" } };
    },
  });
  const body = `${file("background", "x".repeat(300_000))}${file("avatar", "y".repeat(10))}--b--\r\n`;
  const { json } = await fixture.call(`${path}?signature=&token=${viewerToken}`, {
    method: "POST",
    body,
    headers: multipart,
  });
  expect(json).toMatchObject({ status_code: 0, user: { id: 7, name: "zoe", avatar: "http://oss/a.jpg" } });
  expect(seen).toEqual([
    ["background", 64, undefined],
    ["avatar", 10, undefined],
    ["ticket of avatar", "ticket of background", "", `Bearer ${viewerToken}`],
  ]);
  expect([...store.objects].map(([key, { bytes }]) => [key, bytes])).toEqual([
    ["background", 300_000],
    ["avatar", 10],
  ]);
  await store.stop();
});

test("when the second picture is refused, the first one goes", async () => {
  const store = startFixtureStore();
  fixture.origin.answer({
    admitPicture({ field }) {
      if (field === "background") throw flickError(Reason.NOT_AN_IMAGE, "background: this is not a picture");
      return store.admit(field);
    },
  });
  const body = `${file("avatar", "y")}${file("background", "x")}--b--\r\n`;
  const { json } = await fixture.call(`${path}?token=${viewerToken}`, { method: "POST", body, headers: multipart });
  expect(json).toMatchObject({ status_code: Reason.NOT_AN_IMAGE, status_msg: "background: this is not a picture" });
  expect(store.seen).toEqual(["PUT avatar", "DELETE avatar"]);
  await store.stop();
});

test.each<[Reason, number, string]>([
  [Reason.UNAUTHENTICATED, 401, "sign in first"],
  [Reason.NOT_AN_IMAGE, 200, "avatar: this is not a picture"],
  [Reason.TOO_LARGE, 413, "avatar: at most 10 bytes"],
])("a refusal of the upload is told with an empty user: %d", async (reason, status, message) => {
  const refuse = () => {
    throw flickError(reason, message);
  };
  fixture.origin.answer({ admitPicture: refuse });
  const answer = await fixture.call(path, { method: "POST", body: `${file("avatar", "x")}--b--`, headers: multipart });
  expect(answer.status).toBe(status);
  expect(answer.json).toMatchObject({ status_code: reason, status_msg: message, user: { id: 0, avatar: "" } });
});

test("a body beyond the limit of uploads, and a GET, are refused here", async () => {
  const headers = { "content-type": "multipart/form-data; boundary=b" };
  const large = await fixture.call(path, { method: "POST", body: Buffer.alloc(1_200_000), headers });
  expect(large.status).toBe(413);
  expect((await fixture.call(path)).status).toBe(405);
});
