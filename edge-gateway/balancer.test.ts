import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import { createBalancer, type Attempt, type Balancer, type Instance, type Outcome } from "./balancer.ts";

const none: ReadonlySet<string> = new Set();
const names = ["a", "b", "c", "d"];
const instance = (name: string, services = ["user"], load = 0): Instance => ({
  id: `id of ${name}`,
  url: `http://${name}`,
  services,
  load,
});

/** A balancer over these instances, with a clock and a die of its own. */
function start(instances: readonly Instance[], seed = 1) {
  const clock = { now: 1_000_000 };
  let state = seed;
  const random = () => {
    // A linear congruential generator (Numerical Recipes): the same every time.
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
  const balancer = createBalancer({ now: () => clock.now, random });
  balancer.update(instances);
  const begin = (except = none) => balancer.begin("user", "method", clock.now + 5_000, except);
  return { balancer, clock, begin };
}

const isIn = (balancer: Balancer, { url }: Instance, all: readonly Instance[], service = "user") =>
  balancer.hasWell(service, new Set(all.map((each) => each.url).filter((other) => other !== url)));

/** Sends calls one after the other to whoever is chosen until this one has failed as often. */
function fail({ begin, clock }: ReturnType<typeof start>, name: string, outcome: Outcome, times = 1): void {
  for (let failures = 0; failures < times;) {
    const attempt = begin();
    if (attempt?.instance.url === `http://${name}`) {
      attempt.end(outcome);
      failures++;
    } else attempt?.end("answered");
    clock.now += 1;
  }
}

/** So many clients that call without a pause for so long; how many calls each instance answered, by its latency. */
function simulate(balanced: ReturnType<typeof start>, latencies: Record<string, number>, ms: number, clients = 8) {
  const { begin, clock } = balanced;
  const counts: Record<string, number> = {};
  const working: { attempt: Attempt; endsAt: number }[] = [];
  for (const end = clock.now + ms; clock.now < end; clock.now++) {
    for (const { attempt } of working.filter(({ endsAt }) => endsAt <= clock.now)) attempt.end("answered");
    working.splice(0, working.length, ...working.filter(({ endsAt }) => endsAt > clock.now));
    while (working.length < clients) {
      const attempt = begin();
      if (!attempt) throw new Error("nobody was chosen");
      const name = attempt.instance.url.slice("http://".length);
      counts[name] = (counts[name] ?? 0) + 1;
      working.push({ attempt, endsAt: clock.now + (latencies[name] ?? 1) });
    }
  }
  return counts;
}

describe("spreads calls", () => {
  test("evenly over instances that are alike", () => {
    const counts = simulate(start([instance("a"), instance("b"), instance("c")]), { a: 10, b: 10, c: 10 }, 10_000);
    const all = Object.values(counts);
    expect(all).toHaveLength(3);
    expect(Math.min(...all) / Math.max(...all)).toBeGreaterThan(0.9);
  });

  test("away from one that is slow, and back to it when it is no longer", () => {
    const balanced = start([instance("a"), instance("b"), instance("c")]);
    const slow = simulate(balanced, { a: 10, b: 10, c: 100 }, 20_000);
    expect(slow["c"] ?? 0).toBeLessThan((slow["a"] ?? 0) / 20);
    expect(slow["c"] ?? 0).toBeGreaterThan(0);
    simulate(balanced, { a: 10, b: 10, c: 10 }, 30_000);
    const again = simulate(balanced, { a: 10, b: 10, c: 10 }, 10_000);
    expect(again["c"] ?? 0).toBeGreaterThan((again["a"] ?? 0) / 2);
  });

  test("to one that has just come, at once", () => {
    const balanced = start([instance("a"), instance("b")]);
    simulate(balanced, { a: 10, b: 10 }, 1_000);
    balanced.balancer.update([instance("a"), instance("b"), instance("new")]);
    const counts = simulate(balanced, { a: 10, b: 10, new: 10 }, 1_000);
    expect(counts["new"] ?? 0).toBeGreaterThan((counts["a"] ?? 0) / 2);
  });

  test("and does not take an instance for slow because it was asked for what takes long", () => {
    const { balancer, clock } = start([instance("a"), instance("b")]);
    for (let round = 0; round < 100; round++) {
      for (const [method, ms] of Object.entries({ login: 300, read: 2 })) {
        const attempt = balancer.begin("user", method, clock.now + 5_000, none);
        clock.now += ms;
        attempt?.end("answered");
      }
    }
    const login = balancer.begin("user", "login", clock.now + 5_000, none);
    clock.now += 300;
    login?.end("answered");
    const reads = Array.from({ length: 100 }, () => {
      const attempt = balancer.begin("user", "read", clock.now + 5_000, none);
      clock.now += 2;
      attempt?.end("answered");
      return attempt?.instance.url;
    });
    expect(reads.filter((url) => url === login?.instance.url).length).toBeWithin(30, 71);
  });

  test("without counting for ever those that ended without a word", () => {
    const balanced = start([instance("a")]);
    for (let calls = 0; calls < 50; calls++) balanced.begin();
    balanced.balancer.update([instance("a"), instance("b")]);
    expect(simulate(balanced, { a: 10, b: 10 }, 1_000)).not.toHaveProperty("a");
    balanced.clock.now += 5_000;
    expect(simulate(balanced, { a: 10, b: 10 }, 1_000)["a"]).toBeGreaterThan(300);
  });

  test("that last by the load that was announced, and what was begun since", () => {
    const { balancer } = start([instance("a", ["user"], 10), instance("b", ["user"], 2)]);
    const chosen = Array.from({ length: 20 }, () => balancer.beginTransfer("user", none)?.instance.url);
    expect(chosen.slice(0, 8)).toEqual(Array.from({ length: 8 }, () => "http://b"));
    expect(chosen.filter((url) => url === "http://a").length).toBeWithin(4, 9);
  });
});

describe("leaves an instance out", () => {
  const all = [instance("a"), instance("b"), instance("c")];
  const [a = instance("a")] = all;

  test.each<[Outcome, number]>([
    ["lost", 1],
    ["draining", 1],
    ["failed", 3],
  ])("that is %s, after %d in a row", (outcome, times) => {
    const balanced = start(all);
    if (times > 1) fail(balanced, "a", outcome, times - 1);
    expect(isIn(balanced.balancer, a, all)).toBe(true);
    fail(balanced, "a", outcome);
    expect(isIn(balanced.balancer, a, all)).toBe(false);
    expect(simulate(balanced, {}, 1_000)).not.toHaveProperty("a");
  });

  test("but not for failures with answers between them, nor for its callers' going away", () => {
    const balanced = start(all);
    for (let round = 0; round < 5; round++) {
      fail(balanced, "a", "failed", 2);
      fail(balanced, "a", "abandoned", 5);
      fail(balanced, "a", "answered");
    }
    expect(isIn(balanced.balancer, a, all)).toBe(true);
  });

  test("for twice as long each time, up to 30 s, until it answers a probe", () => {
    const balanced = start(all);
    const { balancer, clock } = balanced;
    fail(balanced, "a", "lost");
    for (const wait of [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      clock.now += wait - 10;
      expect(balancer.dueProbes()).toEqual([]);
      clock.now += 10;
      expect(balancer.dueProbes()).toEqual([a]);
      expect(balancer.dueProbes()).toEqual([]);
      balancer.probed(a, false);
    }
    clock.now += 30_000;
    // A probe that was cut off is made again.
    expect(balancer.dueProbes()).toEqual([a]);
    clock.now += 2_000;
    expect(balancer.dueProbes()).toEqual([a]);
    balancer.probed(a, true);
    expect(isIn(balancer, a, all)).toBe(true);
    expect(simulate(balanced, {}, 1_000)["a"]).toBeGreaterThan(0);
  });

  test("unless another process has taken its place", () => {
    const balanced = start(all);
    fail(balanced, "a", "lost");
    balanced.balancer.update([...all]);
    expect(isIn(balanced.balancer, a, all)).toBe(false);
    balanced.balancer.update([{ ...a, id: "another" }, ...all.slice(1)]);
    expect(isIn(balanced.balancer, a, all)).toBe(true);
  });

  test("but never the last one that serves something", () => {
    const rest = [instance("a", ["user", "video"]), instance("b", ["user"]), instance("c", ["user"])];
    const balanced = start(rest);
    const [first = a, second = a, third = a] = rest;
    for (const name of ["a", "b"]) fail(balanced, name, "lost");
    expect(rest.map((each) => isIn(balanced.balancer, each, rest))).toEqual([true, false, true]);
    fail(balanced, "c", "lost");
    expect(rest.map((each) => isIn(balanced.balancer, each, rest))).toEqual([true, false, false]);
    fail(balanced, "a", "lost", 10);
    expect(isIn(balanced.balancer, first, rest)).toBe(true);
    // In such need those that are out are asked soon, however long they were to stay there.
    balanced.clock.now += 500;
    expect(balanced.balancer.dueProbes()).toEqual([second, third]);
  });
});

const outcomes: Outcome[] = ["answered", "failed", "lost", "draining", "abandoned"];
const step = fc.record({
  except: fc.uniqueArray(fc.constantFrom(...names)),
  service: fc.constantFrom("user", "video"),
  outcome: fc.constantFrom(...outcomes),
  tookMs: fc.nat(6_000),
  probesAnswer: fc.boolean(),
  endLater: fc.boolean(),
});

test("whatever happens: who is chosen serves that, was not tried, and is well if somebody is; and somebody always is", () => {
  const services = fc.array(fc.subarray(["user", "video"], { minLength: 1 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(services, fc.array(step, { maxLength: 60 }), fc.nat(), (served, steps, seed) => {
      const all = served.map((list, index) => instance(names[index] ?? "", list));
      const { balancer, clock } = start(all, seed);
      const later: Attempt[] = [];
      for (const { except, service, outcome, tookMs, probesAnswer, endLater } of steps) {
        const tried = new Set(except.map((name) => `http://${name}`));
        const possible = all.filter(({ url, services: list }) => list.includes(service) && !tried.has(url));
        const someWell = balancer.hasWell(service, tried);
        const attempt = balancer.begin(service, "method", clock.now + 5_000, tried);
        expect(attempt === null).toBe(possible.length === 0);
        if (attempt) {
          expect(possible).toContainEqual(attempt.instance);
          if (someWell) expect(isIn(balancer, attempt.instance, all, service)).toBe(true);
          clock.now += tookMs;
          if (endLater) later.push(attempt);
          else attempt.end(outcome);
        }
        for (const due of balancer.dueProbes()) {
          for (const name of due.services) expect(isIn(balancer, due, all, name)).toBe(false);
          balancer.probed(due, probesAnswer);
        }
        for (const each of all) {
          for (const name of each.services) expect(balancer.hasWell(name, none)).toBe(true);
        }
      }
      for (const attempt of later) attempt.end("lost");
      for (const name of new Set(served.flat())) expect(balancer.hasWell(name, none)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("whatever happens: at most a fifth of the calls are repeated, and what was saved up", () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 2_000 }), (calls) => {
      const { balancer, begin } = start([instance("a")]);
      let retries = 0;
      for (const [index, isCall] of calls.entries()) {
        if (isCall) begin()?.end("answered");
        else if (balancer.takeRetry()) retries++;
        expect(retries).toBeLessThanOrEqual(10 + 0.2 * calls.slice(0, index + 1).filter(Boolean).length + 1e-6);
      }
    }),
    { numRuns: 50 },
  );
});

test("no more than 100 retries are saved up", () => {
  const { balancer, begin } = start([instance("a")]);
  for (let calls = 0; calls < 10_000; calls++) begin()?.end("answered");
  let retries = 0;
  while (balancer.takeRetry()) retries++;
  expect(retries).toBe(100);
});
