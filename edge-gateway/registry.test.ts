import { expect, test } from "bun:test";

import type { Instance } from "./balancer.ts";
import { consoleLog } from "./log.ts";
import { createRegistry } from "./registry.ts";

test("first requests that were cut off while they read the list keep nobody after them from it", async () => {
  const announcement = '9999999999999 id 0 {"services":["video"],"version":"1","load":0}';
  let answers = false;
  const redis = {
    hgetall: () => (answers ? Promise.resolve(["http://a", announcement]) : new Promise(() => {})),
  };
  const seen: (readonly Instance[])[] = [];
  const update = (instances: readonly Instance[]) => void seen.push(instances);
  const options = { redis, staticUrls: [], services: ["video"], update, log: consoleLog, now: Date.now };
  const registry = createRegistry(options);

  for (let cutOff = 0; cutOff < 50; cutOff++) void registry.ready();
  expect(registry.isDue()).toBe(true);
  answers = true;
  await registry.refresh();
  expect(seen.at(-1)).toMatchObject([{ url: "http://a" }]);
  expect(registry.isDue()).toBe(false);
});
