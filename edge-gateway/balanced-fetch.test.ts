import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { drainingHeader } from "@flick/proto/instances.ts";
import { publishEventsPath } from "@flick/proto/stream.ts";

import { anyOrigin, createBalancedFetch, type BalancedFetch } from "./balanced-fetch.ts";
import { createBalancer, type Balancer, type Instance } from "./balancer.ts";

setDefaultTimeout(60_000);

const reading = `${anyOrigin}/flick.video.v1.VideoService/GetFeed`;
const writing = `${anyOrigin}/flick.user.v1.UserService/Register`;

interface TestInstance extends Instance {
  /** Requests but for those of its health. */
  calls: { path: string; timeout: string; body: string }[];
  greetings: number;
  /** A response; null breaks the connection. By default it is the instance's name. */
  answer: () => Response | null | Promise<Response | null>;
  healthy: boolean;
  /** Refuses connections from now on. */
  stop(): Promise<void>;
}

async function serveInstance(name: string): Promise<TestInstance> {
  const server = createServer((request, response) => {
    const path = (request.url ?? "").replace(/\?.*/, "");
    if (path === "/healthz") {
      instance.greetings++;
      return void response.writeHead(instance.healthy ? 200 : 503).end();
    }
    return void text(request).then(async (body) => {
      instance.calls.push({ path, timeout: String(request.headers["grpc-timeout"]), body });
      const answer = await instance.answer();
      if (!answer) return response.destroy();
      return response.writeHead(answer.status, answer.headers.toJSON()).end(await answer.text());
    });
  });
  const { promise: listening, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await listening;
  const instance: TestInstance = {
    id: name,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    services: ["user", "video"],
    load: 0,
    calls: [],
    greetings: 0,
    answer: () => new Response(name),
    healthy: true,
    stop() {
      server.closeAllConnections();
      return new Promise((done) => server.close(() => done()));
    },
  };
  return instance;
}

let one: TestInstance;
let two: TestInstance;
let three: TestInstance;
let all: TestInstance[];
let balancer: Balancer;
let balanced: BalancedFetch;
/** The instances in the order in which they are to be tried by the next calls. */
let order: TestInstance[];

beforeEach(async () => {
  [one, two, three] = await Promise.all([serveInstance("one"), serveInstance("two"), serveInstance("three")]);
  all = [one, two, three];
  order = all;
  // The balancer's two choices are both taken from the front of what is left, so that the first in order is chosen.
  const chosen = createBalancer({ now: Date.now, random: () => 0 });
  balancer = {
    ...chosen,
    begin(service, method, deadline, except) {
      const others = order.find(({ url }) => !except.has(url));
      const rest = all.filter((each) => each !== others).map(({ url }) => url);
      return chosen.begin(service, method, deadline, new Set([...except, ...(others ? rest : [])]));
    },
    beginTransfer(service, except) {
      const others = order.find(({ url }) => !except.has(url));
      const rest = all.filter((each) => each !== others).map(({ url }) => url);
      return chosen.beginTransfer(service, new Set([...except, ...(others ? rest : [])]));
    },
  };
  balancer.update(all);
  balanced = createBalancedFetch({
    balancer,
    services: [UserService, VideoService],
    ready: () => Promise.resolve(),
    fetch: (url, init) => fetch(url, { ...init, keepalive: false }),
    now: Date.now,
  });
});
afterEach(async () => {
  await Promise.all(all.map((each) => each.stop()));
});

const post = (timeout = "5000m") => ({ method: "POST", body: "asked", headers: { "grpc-timeout": timeout } });
const textOf = async (answer: Promise<Response>) => (await answer).text();
const reset = () => null;
const draining = () => new Response("draining", { status: 503, headers: { [drainingHeader]: "true" } });
const never = () => new Promise<Response>(() => {});

describe("a call", () => {
  test("is sent with its path, body and deadline", async () => {
    expect(await textOf(balanced.call(reading, post("1234m")))).toBe("one");
    expect(one.calls).toEqual([{ path: "/flick.video.v1.VideoService/GetFeed", timeout: "1234m", body: "asked" }]);
    expect(two.calls).toEqual([]);
  });

  test("that is refused is made elsewhere, reading or writing", async () => {
    await one.stop();
    expect(await textOf(balanced.call(reading, post()))).toBe("two");
    expect(await textOf(balanced.call(writing, post()))).toBe("two");
    expect(two.calls.map(({ body }) => body)).toEqual(["asked", "asked"]);
  });

  test("that finds an instance draining is made elsewhere, reading or writing", async () => {
    one.answer = draining;
    two.answer = draining;
    expect(await textOf(balanced.call(reading, post()))).toBe("three");
    expect(await textOf(balanced.call(writing, post()))).toBe("three");
  });

  test("gets the draining instance's answer when there is no other", async () => {
    for (const each of all) each.answer = draining;
    expect((await balanced.call(writing, post())).status).toBe(503);
    expect(all.map(({ calls }) => calls.length)).toEqual([1, 1, 1]);
  });

  test("whose connection breaks is repeated once if it reads, and never if it writes", async () => {
    one.answer = reset;
    expect(await textOf(balanced.call(reading, post()))).toBe("two");
    order = [three, two];
    three.answer = reset;
    expect(await textOf(balanced.call(writing, post())).catch(() => "failed")).toBe("failed");
    expect(all.map(({ calls }) => calls.length)).toEqual([1, 1, 1]);
  });

  test("that writes, but does no harm twice, is repeated like one that reads", async () => {
    one.answer = reset;
    const idempotent = `${anyOrigin}/flick.video.v1.VideoService/Publish`;
    expect(await textOf(balanced.call(idempotent, post()))).toBe("two");
  });

  test("is repeated at an instance that is there, when two have gone", async () => {
    order = [two];
    await balanced.call(reading, post());
    two.calls.length = 0;
    order = all;
    one.answer = reset;
    two.answer = reset;
    two.healthy = false;
    expect(await textOf(balanced.call(reading, post()))).toBe("three");
    expect(two.calls).toEqual([]);
  });

  test("that reads is repeated no more than once", async () => {
    for (const each of all) each.answer = reset;
    expect(await textOf(balanced.call(reading, post())).catch(() => "failed")).toBe("failed");
    expect(all.map(({ calls }) => calls.length)).toEqual([1, 1, 0]);
  });

  test("whose connection breaks is repeated at the same instance when there is no other", async () => {
    balancer.update([one]);
    order = [one];
    let answers = 0;
    one.answer = () => (answers++ === 0 ? null : new Response("one"));
    expect(await textOf(balanced.call(reading, post()))).toBe("one");
    one.answer = reset;
    expect(await textOf(balanced.call(reading, post())).catch(() => "failed")).toBe("failed");
    expect(one.calls.length).toBe(4);
  });

  test("that writes is made where it can be: at one that was left out, when the others do not answer", async () => {
    one.answer = reset;
    await balanced.call(reading, post());
    expect(balancer.hasWell("user", new Set([two.url, three.url]))).toBe(false);
    one.answer = () => new Response("one");
    await Promise.all([two.stop(), three.stop()]);
    order = [three, two, one];
    expect(await textOf(balanced.call(writing, post()))).toBe("one");
  });

  test.each([502, 503, 504])("that a proxy answers with %d is repeated if it reads", async (status) => {
    one.answer = () => new Response("bad gateway", { status });
    expect(await textOf(balanced.call(reading, post()))).toBe("two");
    expect((await balanced.call(writing, post())).status).toBe(status);
  });

  test.each([521, 523, 530])("that never got through Cloudflare (%d) is made elsewhere", async (status) => {
    one.answer = () => new Response("down", { status });
    expect(await textOf(balanced.call(writing, post()))).toBe("two");
  });

  test("is not repeated when the budget is used up", async () => {
    while (balancer.takeRetry());
    one.answer = reset;
    expect(await textOf(balanced.call(reading, post())).catch(() => "failed")).toBe("failed");
    expect(two.calls).toEqual([]);
  });

  test("that reads is given up at half of its time and made elsewhere, with what is left of it", async () => {
    one.answer = never;
    const begun = performance.now();
    expect(await textOf(balanced.call(reading, post("1000m")))).toBe("two");
    expect(performance.now() - begun).toBeLessThan(900);
    const [call] = two.calls;
    expect(call?.timeout).toMatch(/^\d+m$/);
    expect(Number.parseInt(call?.timeout ?? "", 10)).toBeWithin(1, 501);
  });

  test("is not given up when it writes, nor when the budget is used up", async () => {
    const ends = (url: string) =>
      textOf(balanced.call(url, { ...post("400m"), signal: AbortSignal.timeout(400) })).catch(
        (error: unknown) => (error as Error).name,
      );
    one.answer = never;
    expect(await ends(writing)).toBe("TimeoutError");
    while (balancer.takeRetry());
    expect(await ends(reading)).toBe("TimeoutError");
    expect(two.calls).toEqual([]);
  });

  test("is not made again after its deadline", async () => {
    one.answer = () => Bun.sleep(150).then(reset);
    // Nothing aborts it: the deadline counts all the same.
    expect(await textOf(balanced.call(reading, post("100m"))).catch(() => "failed")).not.toBe("three");
    expect(three.calls).toEqual([]);
    expect(two.calls.every(({ timeout }) => Number.parseInt(timeout, 10) <= 50)).toBe(true);
  });

  test("that its caller gives up ends at once and says nothing about the instance", async () => {
    one.answer = never;
    for (let calls = 0; calls < 5; calls++) {
      const signal = AbortSignal.timeout(30);
      expect(await textOf(balanced.call(reading, { ...post(), signal })).catch(() => "given up")).toBe("given up");
    }
    expect(two.calls).toEqual([]);
    expect(balancer.hasWell("user", new Set([two.url, three.url]))).toBe(true);
  });

  test("that writes goes to an instance that has been heard of lately, or is asked first", async () => {
    expect(await textOf(balanced.call(writing, post()))).toBe("one");
    expect(one.greetings).toBe(1);
    expect(await textOf(balanced.call(writing, post()))).toBe("one");
    expect(one.greetings).toBe(1);
    order = [two];
    two.healthy = false;
    expect(await textOf(balanced.call(writing, post()).catch(() => new Response("nobody")))).not.toBe("two");
    expect(two.calls).toEqual([]);
  });

  test("of a service that nobody serves is an error that names it", async () => {
    balancer.update([]);
    const error: unknown = await balanced.call(reading, post()).catch((problem: unknown) => problem);
    expect(String(error)).toContain("nobody can be reached who serves video");
  });
});

describe("a stream", () => {
  const stream = `${anyOrigin}${publishEventsPath}?title=x`;
  const body = () => new Blob(["a body"]).stream();
  const init = () => ({ method: "POST", body: body(), duplex: "half" as const });

  test("goes to an instance that says that it is well", async () => {
    await one.stop();
    two.healthy = false;
    expect(await textOf(balanced.transfer(stream, init()))).toBe("three");
    expect(three.calls).toEqual([{ path: publishEventsPath, timeout: "undefined", body: "a body" }]);
    expect(two.calls).toEqual([]);
  });

  test("is never begun a second time", async () => {
    one.answer = reset;
    const answer = balanced.transfer(stream, init());
    expect(await textOf(answer).catch(() => "failed")).toBe("failed");
    expect([two.calls, three.calls]).toEqual([[], []]);
  });
});

test("an instance that was left out comes back when it answers its probe", async () => {
  one.answer = reset;
  one.healthy = false;
  await balanced.call(reading, post());
  const isIn = () => balancer.hasWell("user", new Set([two.url, three.url]));
  expect(isIn()).toBe(false);
  await balanced.probe([one]);
  expect(isIn()).toBe(false);
  one.healthy = true;
  await balanced.probe([one]);
  expect(isIn()).toBe(true);
});
