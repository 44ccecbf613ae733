import { afterAll, beforeAll, expect, test } from "bun:test";

import { createGateway } from "./gateway.ts";
import { startFixtureOrigin, type FixtureOrigin } from "./testing.ts";

const url = "http://gateway.test/douyin/feed/";

let origin: FixtureOrigin;
let answer: (request: Request) => Response | Promise<Response>;
beforeAll(() => {
  origin = startFixtureOrigin();
  origin.answer({ getFeed: () => ({ videos: [], nextBeforeMs: 0n, hasMore: false, newestMs: 0n }) });
  const bindings = { ORIGIN_URL: origin.url, MAX_UPLOAD_BYTES: "1000000" };
  const gateway = createGateway(bindings, { addressOf: () => "203.0.113.7" });
  if ("problems" in gateway) throw new Error(gateway.problems.join("; "));
  answer = (request) => gateway.app.fetch(request);
});
afterAll(() => origin.stop());

let times = 1_600_000_000_000;

/** Answers with a page that is fresh, none of which took a promise. */
async function atOnce(count: number): Promise<Response[]> {
  const page = `${url}?latest_time=${(times += 1000)}`;
  await answer(new Request(page));
  const answers = Array.from({ length: count }, () => answer(new Request(page)));
  for (const each of answers) expect(each).toBeInstanceOf(Response);
  return Promise.all(answers);
}

test("a page out of memory is answered without a promise, with the headers of every answer", async () => {
  const [page] = await atOnce(1);
  expect(Object.fromEntries(page?.headers ?? [])).toMatchObject({
    "content-type": "application/json",
    "x-cache": "memory",
    "x-request-id": expect.stringMatching(/^[0-9a-f-]{36}$/),
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "access-control-allow-origin": "*",
  });
  expect(await page?.json()).toMatchObject({ status_code: 0, video_list: [] });
});

test("each answer keeps an id of its own, although their headers are made of the same ones", async () => {
  const pages = await atOnce(10);
  expect(new Set(pages.map(({ headers }) => headers.get("x-request-id"))).size).toBe(10);
});

test.each([
  ["at once", new Request(`${url}?count=rubbish`), 200],
  ["when its body was read", new Request("http://gateway.test/douyin/user/login/", { method: "POST", body: "a" }), 415],
])("what is refused %s has the headers of every answer, too", async (_when, request, status) => {
  const refused = await answer(request);
  expect(refused.status).toBe(status);
  expect(refused.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  expect(refused.headers.get("x-content-type-options")).toBe("nosniff");
});
