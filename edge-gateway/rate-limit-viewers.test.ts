import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { token as restToken, type TestFront } from "@flick/dev/upstash-front/testing.ts";
import { Hono } from "hono";
import * as v from "valibot";

import type { GatewayEnv } from "./endpoint.ts";
import { answerError } from "./errors.ts";
import { limitSettings } from "./limit-policies.ts";
import { consoleLog } from "./log.ts";
import { createPseudonyms } from "./pseudonyms.ts";
import { createQuotas } from "./quotas.ts";
import { createRateLimit } from "./rate-limit.ts";
import { connectRedis } from "./redis.ts";
import { earlyInWindow, setUpLimitTests } from "./testing-rate-limit.ts";
import { tierLimiters } from "./tier-limiters.ts";

setDefaultTimeout(60_000);

const t = setUpLimitTests();

describe("viewers", () => {
  test("are counted one by one, wherever they come from, and apart from those who are not signed in", async () => {
    const ask = limitsFor(t.startFront(), { requests: { perUser: "strict", perIp: "strict" } });
    await earlyInWindow(60);
    for (let i = 0; i < 10; i++) expect(await ask("/request?viewer=1")).toBe(200);
    expect(await ask("/request?viewer=1")).toBe(429);
    expect(await ask("/request?viewer=2")).toBe(200);
    expect(await ask("/request")).toBe(200);
  });

  test("have quotas of their own", async () => {
    const ask = limitsFor(t.startFront(), { comment: { perUser: { count: 2, seconds: 1000 } } });
    await earlyInWindow(1000);
    const statuses = [];
    for (const viewer of [1, 1, 1, 2, 2, 2]) statuses.push(await ask(`/comment?viewer=${viewer}`));
    expect(statuses).toEqual([200, 200, 429, 200, 200, 429]);
  });

  test("get more at once when their quota is raised, also those who had used it up", async () => {
    const settings = { comment: { perUser: { count: 1, seconds: 1000 } } };
    const ask = limitsFor(t.startFront(), settings);
    await earlyInWindow(1000);
    expect([await ask("/comment?viewer=1"), await ask("/comment?viewer=1")]).toEqual([200, 429]);
    settings.comment.perUser.count = 3;
    const raised = [await ask("/comment?viewer=1"), await ask("/comment?viewer=1"), await ask("/comment?viewer=1")];
    expect(raised).toEqual([200, 200, 429]);
    settings.comment.perUser.count = 0;
    expect(await ask("/comment?viewer=1")).toBe(200);
  });
});

/** The limits alone, in an app that believes what a test says of its viewer. */
function limitsFor(front: TestFront, settings: object) {
  const app = new Hono<GatewayEnv>();
  const limits = createRateLimit({
    limiters: tierLimiters({}, { ipFactor: 1 }),
    quotas: createQuotas(connectRedis({ url: front.url, token: restToken }), consoleLog),
    pseudonym: createPseudonyms("secret"),
    addressOf: () => "203.0.113.7",
    ipFactor: 1,
    settings: () => v.parse(limitSettings, settings),
  });
  app.onError(answerError(consoleLog));
  app.use(async (c, next) => {
    const viewer = c.req.query("viewer");
    if (viewer !== undefined) c.set("viewer", Number(viewer));
    await next();
  });
  app.get("/request", async (c) => {
    await limits.request(c);
    return c.text("");
  });
  app.get("/comment", async (c) => {
    await limits.call(c, "comment", "");
    return c.text("");
  });
  return async (path: string) => (await app.request(path)).status;
}
