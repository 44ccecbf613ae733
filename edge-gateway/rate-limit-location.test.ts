import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { call, earlyInWindow, login, passed, setUpLimitTests } from "./testing-rate-limit.ts";
import { viewerToken as token } from "./testing.ts";

setDefaultTimeout(60_000);

const t = setUpLimitTests();

describe("the location's own limits", () => {
  test("hold for every request, by address, with the endpoint's empty fields", async () => {
    const gateway = await t.start(t.startFront());
    // The gateway's start has been seen by a health check, from another address.
    const feed = () => call(gateway, "/feed", { method: "GET", from: "127.0.0.5" });
    await earlyInWindow(10);
    const answers = await Promise.all(Array.from({ length: 130 }, feed));
    expect(passed(answers)).toBe(100);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.json).toMatchObject({
      status_code: Reason.RATE_LIMITED,
      status_msg: "Too many requests (at most 100 in 10 s): try again in 10 s.",
      video_list: [],
      next_time: 0,
    });
    expect(refused?.headers).toMatchObject({
      "retry-after": "10",
      "ratelimit-limit": "100",
      "ratelimit-remaining": "0",
      "ratelimit-reset": "10",
      "ratelimit-policy": "100;w=10",
    });
    // What is not as it should be counts, too.
    expect((await call(gateway, "/feed", { method: "POST", from: "127.0.0.5" })).status).toBe(429);
    for (const path of ["/openapi.json", "/docs"]) {
      expect((await call(gateway, `/..${path}`, { method: "GET", from: "127.0.0.5" })).status).toBe(429);
    }
    expect((await call(gateway, "/nowhere", { method: "GET", from: "127.0.0.5" })).status).toBe(429);
    expect((await call(gateway, "/feed", { method: "GET", from: "127.0.0.2" })).status).toBe(200);
  });

  test("take another tier while the gateway runs, within 10 s", async () => {
    const gateway = await t.start(t.startFront());
    const feed = () => call(gateway, "/feed", { method: "GET" });
    await t.configure({ limits: { requests: { perIp: "strict" } } });
    const asked = Date.now();
    let status = 200;
    while (status === 200 && Date.now() - asked < 20_000) {
      ({ status } = await feed());
      await Bun.sleep(200);
    }
    expect(status).toBe(429);
    const tookAt = t.log.find(({ message }) => message === "configuration taken")?.["time"];
    expect(Date.parse(String(tookAt)) - asked).toBeLessThan(10_000);
    await t.configure({ limits: { requests: { perIp: "off" } } });
    const deadline = Date.now() + 10_000;
    while ((await feed()).status !== 200) {
      if (Date.now() > deadline) throw new Error("the limit stayed");
      await Bun.sleep(200);
    }
  });
});

describe("without Redis", () => {
  test("reads and writes go on under the location's limits, logins in a strict tier, and exactness comes back", async () => {
    const front = t.startFront();
    await t.configure({ limits: { comment: { perUser: { count: 1, seconds: 1000 } } } });
    const gateway = await t.start(front);
    const comment = () => call(gateway, "/comment/action?video_id=1&action_type=1&comment_text=hm", { token });
    await earlyInWindow(1000);
    await front.stop();
    expect((await call(gateway, "/feed", { method: "GET" })).status).toBe(200);
    for (let i = 0; i < 5; i++) expect((await comment()).status).toBe(200);
    await earlyInWindow(60);
    const answers = await Promise.all(Array.from({ length: 25 }, (_, index) => login(gateway, `somebody${index}`)));
    expect(passed(answers)).toBe(10);
    expect(answers.find(({ status }) => status === 429)?.headers["ratelimit-policy"]).toBe("10;w=60");
    const warnings = t.log.filter(({ message }) => message === awayMessage);
    expect(warnings.length).toBeGreaterThan(0);
    expect(warnings.length).toBeLessThan(5);

    const port = Number(new URL(front.url).port);
    t.startFront(port);
    await Bun.sleep(2_500);
    expect((await comment()).status).toBe(200);
    expect((await comment()).status).toBe(429);
  });

  test("a gateway that has none counts for itself, and by address as often as the factor says", async () => {
    const gateway = await t.start(null, { IP_LIMIT_FACTOR: "2" });
    await earlyInWindow(60);
    const answers = await Promise.all(Array.from({ length: 25 }, (_, index) => login(gateway, `somebody${index}`)));
    expect(passed(answers)).toBe(20);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.headers["ratelimit-policy"]).toBe("20;w=60");
  });
});

const awayMessage = "limits cannot be counted in Redis: the location's own apply";
