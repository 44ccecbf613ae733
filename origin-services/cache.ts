import { randomUUID } from "node:crypto";

import type { Log } from "@flick/platform/log.ts";

import { defaultCacheSettings, type CacheSettings } from "./config.ts";
import { negative, type ListKind, type ListRange, type ValueKind } from "./cache-kinds.ts";
import { createCacheRedis } from "./cache-redis.ts";
import {
  addToSortedSet,
  deleteWithout,
  fill,
  readHashes,
  readSortedSets,
  readStrings,
  removeFromSortedSet,
} from "./cache-scripts.ts";

/**
 * The cache in front of the database. Readers fill it under a lease, writers and the change consumer only delete; see "Scaling
 * Memcache at Facebook" (NSDI 2013), section 3.2.1, for the lease. Without Redis every call goes to the database.
 *
 * A load must read the database and nothing that is cached itself: only so is what it gives as new as the lease it is stored under.
 */
export interface Cache {
  /**
   * The values of these ids, at most 1000, in a constant number of round trips. `load` is asked once for all those that
   * are missing and nobody else is loading; ids that it does not give are taken for unknown.
   */
  values<Value>(kind: ValueKind<Value>, ids: readonly number[], load: LoadValues<Value>): Promise<Map<number, Value>>;
  /**
   * For each key (at most 1000) the first entries of a range of its list; null where the cache cannot tell: then the database must be
   * asked for that range. `load` gives the newest entries of a list, one more than {@link ListKind.most} if there are so many.
   */
  lists<Entry>(
    kind: ListKind<Entry>,
    keys: readonly string[],
    range: ListRange,
    load: LoadList<Entry>,
  ): Promise<(Entry[] | null)[]>;
  /**
   * Deletes keys and voids their leases; for writers, after their commit and before they answer. Never fails.
   *
   * @returns false when the keys may still be there: they will be deleted as soon as Redis can be reached.
   */
  delete(keys: readonly string[]): Promise<boolean>;
  /** Adds an entry to a list that is cached, and voids its lease. */
  add<Entry>(kind: ListKind<Entry>, key: string, entry: Entry): Promise<void>;
  /** Removes an entry from a list that is cached, and voids its lease. */
  remove<Entry>(kind: ListKind<Entry>, key: string, entry: Entry): Promise<boolean>;
  /** Deletes a list that lacks an entry, and voids its lease. */
  expect<Entry>(kind: ListKind<Entry>, key: string, entry: Entry): Promise<boolean>;
  stats(): CacheStats;
  close(): void;
}

export interface CacheStats {
  /** Commands sent to Redis. */
  roundTrips: number;
  /** Values and lists that were there, and that were not. */
  hits: number;
  misses: number;
}

/** Long enough for a slow query. A reader that dies keeps the others from filling for so long, not from reading. */
const leaseMs = 3_000;
/** Waits of a reader while another one fills, in milliseconds; then it reads the database, and does not fill. */
const pollsMs = [5, 10, 20, 40, 80];
const maxKeys = 1000;
const maxBytes = 64 * 1024;
/** The lowest member of a list that nothing is missing from. Scores of entries are above 0. */
const endMark = "end";

type LoadValues<Value> = (ids: number[]) => Promise<ReadonlyMap<number, Value>>;
type LoadList<Entry> = (index: number) => Promise<readonly Entry[]>;
type Reply = 0 | 1 | string[];
type Filling = { ttlMs: number; args: string[] };

/** @param options.timeoutMs how long an answer of Redis is waited for, default 150. */
export function createCache(options: {
  url: string;
  log: Log;
  timeoutMs?: number;
  settings?: () => CacheSettings;
}): Cache {
  const { settings = () => defaultCacheSettings } = options;
  const redis = createCacheRedis({ timeoutMs: 150, ...options });
  const ttlOf = (kind: { ttlMs: number }) => kind.ttlMs * (settings().ttlPercent / 100);
  let hits = 0;
  let misses = 0;

  return {
    async values<Value>(kind: ValueKind<Value>, ids: readonly number[], load: LoadValues<Value>) {
      const found = new Map<number, Value>();
      const read = kind.type === "hash" ? readHashes : readStrings;
      const write = kind.type === "hash" ? "HSET" : "SET";
      const pick = (indexes: number[]) => indexes.map((index) => ids[index] as number);
      const keep = async (wanted: number[]) => {
        const loaded = await load(wanted);
        for (const [id, value] of loaded) found.set(id, value);
        return loaded;
      };
      const rest = await through(ids.map(kind.key), {
        write,
        read: { script: read, args: [] },
        take(index, stored) {
          const value = kind.decode(stored);
          if (value === undefined) return false;
          if (value !== negative) found.set(ids[index] as number, value);
          return true;
        },
        async load(indexes) {
          const loaded = await keep(pick(indexes));
          return pick(indexes).map((id) => {
            const value = loaded.get(id);
            if (value !== undefined) return { ttlMs: ttlOf(kind), args: kind.encode(value) };
            return { ttlMs: settings().unknownSeconds * 1000, args: kind.negative };
          });
        },
      });
      if (rest.length > 0) await keep(pick(rest));
      return found;
    },

    async lists<Entry>(kind: ListKind<Entry>, keys: readonly string[], range: ListRange, load: LoadList<Entry>) {
      const { below, above = 0, limit } = range;
      const bounds = [below === undefined ? "+inf" : `(${below}`, `(${above}`, limit];
      const found: (Entry[] | null)[] = keys.map(() => null);
      await through(keys, {
        write: "ZADD",
        read: { script: readSortedSets, args: bounds },
        take(index, [lowest, lowestScore, ...stored]) {
          const entries: Entry[] = [];
          for (let at = 0; at < stored.length; at += 2)
            entries.push(kind.decode(stored[at] ?? "", Number(stored[at + 1])));
          // All down to the lowest one is there.
          const known = lowest === endMark || Number(lowestScore) <= above + 1;
          if (known || entries.length === limit) found[index] = entries;
          return true;
        },
        load: (indexes) =>
          Promise.all(
            indexes.map(async (index) => {
              const newest = await load(index);
              const { args, stored, complete } = encodeList(kind, newest);
              const inRange = stored
                .filter(({ score }) => score < (below ?? Infinity) && score > above)
                .slice(0, limit);
              const reachesDown = complete || (stored.at(-1)?.score ?? Infinity) <= above + 1;
              if (reachesDown || inRange.length === limit) found[index] = inRange.map(({ entry }) => entry);
              return { ttlMs: ttlOf(kind), args };
            }),
          ),
      });
      return found;
    },

    delete: (keys) => redis.delete([...new Set(keys)]),
    async add(kind, key, entry) {
      const { member, score } = kind.encode(entry);
      await change(key, addToSortedSet, [score, member, kind.most, endMark]);
    },
    remove: (kind, key, entry) => change(key, removeFromSortedSet, [kind.encode(entry).member]),
    expect: (kind, key, entry) => change(key, deleteWithout, [kind.encode(entry).member]),
    stats: () => ({ roundTrips: redis.roundTrips(), hits, misses }),
    close: redis.close,
  };

  /** Runs a script that changes a list; one that could not be changed is deleted as soon as that is possible. */
  async function change(key: string, script: string, args: (string | number)[]): Promise<boolean> {
    const answer = await redis.run(script, [key], args);
    return answer !== undefined || redis.delete([key]);
  }

  /**
   * Reads keys; loads and fills those whose lease it gets; waits a little for those that others are filling.
   *
   * @returns the indexes of the keys that it could not come by: they must be read from the database.
   */
  async function through(
    keys: readonly string[],
    steps: {
      read: { script: string; args: (string | number)[] };
      write: string;
      /** Is what was stored of use? */
      take: (index: number, stored: string[]) => boolean;
      load: (indexes: number[]) => Promise<Filling[]>;
    },
  ): Promise<number[]> {
    if (keys.length > maxKeys)
      throw new RangeError(`the cache reads at most ${maxKeys} keys at once, not ${keys.length}`);
    const { read, write, take, load } = steps;
    if (!settings().reads) {
      misses += keys.length;
      return keys.map((_key, index) => index);
    }
    const token = randomUUID();
    const unusable: number[] = [];
    const loads: Promise<void>[] = [];
    let waiting = keys.map((_key, index) => index);
    for (const waitMs of [0, ...pollsMs]) {
      if (waiting.length === 0) break;
      if (waitMs > 0) await Bun.sleep(waitMs);
      const asked = waiting;
      const args = [token, leaseMs, ...read.args];
      const replies = await redis.run(
        read.script,
        asked.map((index) => keys[index] as string),
        args,
      );
      if (replies === undefined) break;
      const leased: number[] = [];
      waiting = [];
      (replies as Reply[]).forEach((reply, at) => {
        const index = asked[at] as number;
        if (reply === 0) waiting.push(index);
        else if (reply === 1) leased.push(index);
        else if (take(index, reply)) hits++;
        else unusable.push(index);
      });
      if (leased.length > 0) loads.push(loadAndFill(leased));
    }
    misses += waiting.length + unusable.length;
    await Promise.all(loads);
    return [...waiting, ...unusable];

    function loadAndFill(indexes: number[]): Promise<void> {
      misses += indexes.length;
      const leasedKeys = indexes.map((index) => keys[index] as string);
      const put = (fillings: Filling[]) =>
        redis.run(fill, leasedKeys, [
          write,
          ...fillings.flatMap((filling) => toArgs(token, filling, settings().jitterPercent)),
        ]);
      const loading = load(indexes).then(
        async (fillings) => void (await put(fillings)),
        async (error: unknown) => {
          await put(indexes.map(() => ({ ttlMs: 0, args: [] })));
          throw error;
        },
      );
      // It is waited for after the polling; until then a failure is nobody's yet.
      loading.catch(() => {});
      return loading;
    }
  }
}

/** A value that is too large is not stored: only its lease ends. */
function toArgs(token: string, { ttlMs, args }: Filling, jitterPercent: number): (string | number)[] {
  const stored = bytesOf(args) > maxBytes ? [] : args;
  const jitter = (jitterPercent / 100) * (2 * Math.random() - 1);
  return [token, Math.round(ttlMs * (1 + jitter)), stored.length, ...stored];
}

const bytesOf = (args: string[]) => args.reduce((sum, arg) => sum + Buffer.byteLength(arg), 0);

/** As many of the newest entries as a list holds, by number and by size. */
function encodeList<Entry>(kind: ListKind<Entry>, newest: readonly Entry[]) {
  const stored: { entry: Entry; score: number }[] = [];
  const args: string[] = [];
  let bytes = endMark.length + 1;
  for (const entry of newest) {
    const { score, member } = kind.encode(entry);
    bytes += Buffer.byteLength(member) + String(score).length;
    if (stored.length === kind.most || bytes > maxBytes) break;
    stored.push({ entry, score });
    args.push(String(score), member);
  }
  const complete = stored.length === newest.length;
  if (complete) args.push("0", endMark);
  return { args, stored, complete };
}
