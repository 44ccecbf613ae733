import { instancesKey, maxInstances } from "@flick/proto/instances.ts";
import * as v from "valibot";

import type { Instance } from "./balancer.ts";
import type { Log } from "./log.ts";

/** Who serves what, as far as this isolate knows. */
export interface Registry {
  /** Waits, for a moment, while nothing is known yet. Never rejects. */
  ready(): Promise<void>;
  /** Is it time to read the list again? */
  isDue(): boolean;
  /** Reads it, and tells the balancer. Never rejects. */
  refresh(): Promise<void>;
}

/** How long a list is taken for good. An origin that stops goes on answering for longer than that. */
const refreshMs = 2_000;
/** A reading that says nothing for so long was cut off with the request that made it. */
const readingGivenUpMs = 2_000;
/** Requests that at once find nothing known read the list for themselves, because none may wait for another's reading. */
const mostFirstReadings = 16;
/** An empty list may be that of a Redis that has just lost its data; origins announce themselves again within seconds. */
const emptyListDoubtedMs = 10_000;

/**
 * Keeps the balancer's instances. For each service they are those that have announced it in Redis or, where there are none or no Redis,
 * those of the static list, each of which is taken to serve everything. While Redis is away the last known list stands.
 *
 * @param options.now milliseconds since 1970.
 */
export function createRegistry(options: {
  redis: Announcements | null;
  staticUrls: readonly string[];
  services: readonly string[];
  update: (instances: readonly Instance[]) => void;
  log: Log;
  now: () => number;
}): Registry {
  const { redis, staticUrls, services, update, log, now } = options;
  let known = redis === null;
  let nextReading = 0;
  let firstReadings = 0;
  let announcedAt = -Infinity;
  let shown = "";

  take([]);

  async function read(from: Announcements): Promise<void> {
    try {
      const announced = parseInstances(await from.hgetall(instancesKey));
      if (announced.length > 0) announcedAt = now();
      if (announced.length > 0 || now() - announcedAt > emptyListDoubtedMs) take(announced);
    } catch (error) {
      log.warn("the list of origins cannot be read: the last one stays", {
        problem: error instanceof Error ? error.message : String(error),
      });
    }
    known = true;
    nextReading = now() + refreshMs;
  }

  function take(announced: readonly Instance[]): void {
    const missing = services.filter((service) => !announced.some((instance) => instance.services.includes(service)));
    const announcedUrls = new Set(announced.map(({ url }) => url));
    const others = staticUrls
      .filter((url) => missing.length > 0 && !announcedUrls.has(url))
      .map((url) => ({ id: "static", url, services: missing, load: 0 }));
    update([...announced, ...others]);
    const list = announced.map((each) => `${each.url} (${each.services.join(",")})`).toSorted();
    if (String(list) !== shown) log.info("origins", { announced: list });
    shown = String(list);
  }

  return {
    async ready() {
      if (known || !redis || firstReadings >= mostFirstReadings) return;
      firstReadings++;
      await read(redis);
      firstReadings--;
    },
    // Also while nothing is known, when those who read it for themselves may have been cut off.
    isDue: () => redis !== null && (known || firstReadings >= mostFirstReadings) && now() >= nextReading,
    async refresh() {
      if (!redis) return;
      nextReading = now() + readingGivenUpMs;
      await read(redis);
    },
  };
}

const announcement = v.object({
  services: v.pipe(v.array(v.pipe(v.string(), v.regex(/^[a-z]{1,32}$/))), v.minLength(1), v.maxLength(32)),
  load: v.pipe(v.number(), v.minValue(0), v.maxValue(1e9)),
});

/**
 * The instances in the hash that proto/instances.ts describes. What is not of its form is left out.
 *
 * @param reply fields and values in turn, as Redis gives them when its client leaves them alone.
 */
function parseInstances(reply: unknown): Instance[] {
  const flat = v.parse(v.nullable(v.array(v.string())), reply) ?? [];
  const instances: Instance[] = [];
  for (let at = 0; at + 1 < flat.length && instances.length < maxInstances; at += 2) {
    const [url = "", value = ""] = flat.slice(at, at + 2);
    const [, id = "", json = ""] = /^\d{1,16} (\S{1,64}) \d{1,2} (.{2,1024})$/.exec(value) ?? [];
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), announcement), json);
    if (parsed.success && isOriginUrl(url)) instances.push({ id, url, ...parsed.output });
  }
  return instances;
}

/** An address and nothing else: with a path, too, but not with a secret, a query or a slash at its end. */
function isOriginUrl(text: string): boolean {
  if (text.length > 200 || !URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && username + password + search + hash === "" && !/[/?#]$/.test(text);
}

/** What is read of Redis. */
interface Announcements {
  hgetall(key: string): Promise<unknown>;
}
