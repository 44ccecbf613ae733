import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { createRedisStreamsEventLog } from "@flick/platform/event-log/redis-streams.ts";
import { createLog } from "@flick/platform/log.ts";
import { RedisClient } from "bun";
import { createConnection } from "mysql2/promise";

import { auditCache } from "./cache-audit.ts";
import { drained } from "./change-log.ts";
import { startFleet, type Fleet } from "./fleet.ts";
import { startLoad, type Person } from "./load.ts";
import { ffmpeg } from "./running-stack.ts";

setDefaultTimeout(120_000);

let fleet: Fleet;
let eventLog: EventLog;
let people: Person[];
let clip: Blob;
let accounts = 0;
beforeAll(async () => {
  fleet = await startFleet({
    services: ["user,relation", "video,favorite", "comment,message"],
    workers: 2,
    gateways: 2,
  });
  const log = createLog({ program: "tests", write: () => {} });
  eventLog = createRedisStreamsEventLog({ url: fleet.urls.redis, log });
  const path = join(fleet.dir, "clip.mp4");
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x284:rate=10", "-t", "1", "-pix_fmt", "yuv420p", path);
  clip = Bun.file(path);
  people = await Promise.all(Array.from({ length: 4 }, signUp));
});
afterAll(async () => {
  await eventLog.close();
  await fleet.stop();
});

const signUp = () => fleet.call((api) => api.register(`viewer ${++accounts}`, "a good password"));

async function publish(person: Person | undefined): Promise<number> {
  const { video_id: id } = await fleet.call((api) => api.publish(person?.token ?? "", "a clip", clip));
  return id;
}

/** Waits until all of them are ready. */
async function allReady(ids: readonly number[]): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const lists = await Promise.all(people.map(({ token }) => fleet.call((api) => api.publishList(token))));
    const states = new Map(lists.flatMap((list) => list.video_list).map(({ id, status }) => [id, status]));
    if (ids.every((id) => states.get(id) === "ready")) return;
    if (Date.now() > deadline) throw new Error(`not all are ready: ${JSON.stringify([...states])}`);
    await Bun.sleep(200);
  }
}

/** By worker: the tags of the videos that it has made ready. */
const madeReady = () =>
  fleet.workers.map(({ log }) =>
    log.filter(({ message }) => message === "job ready").map(({ video }) => String(video)),
  );

test("services in different processes make one page, and two workers share the jobs", async () => {
  const videos = await Promise.all(Array.from({ length: 6 }, (_, at) => publish(people[at % 2])));
  await allReady(videos);
  const [video = 0] = videos;
  const [author, fan] = people as [Person, Person];
  await fleet.call((api) => api.favorite(fan.token, video, 1));
  await fleet.call((api) => api.comment(fan.token, video, "so it is"));
  await fleet.call((api) => api.follow(fan.token, author.user_id, 1));
  const { video_list: list } = await fleet.call((api) => api.favoriteList(fan.token));
  expect(list).toMatchObject([
    {
      id: video,
      favorite_count: 1,
      comment_count: 1,
      is_favorite: true,
      author: { is_follow: true, total_favorited: 1 },
    },
  ]);
  const [one = [], two = []] = madeReady();
  expect(one.length).toBeGreaterThan(0);
  expect(two.length).toBeGreaterThan(0);
  expect(new Set([...one, ...two]).size).toBe(videos.length);
  expect(one.length + two.length).toBe(videos.length);
});

test("the consumers of all origins are one group: each change is worked through once", async () => {
  await drained(eventLog, fleet.urls);
  const changes = 60;
  const before = await deletions();
  // Written by nobody who would delete anything.
  const mysql = await createConnection({ uri: fleet.urls.mysql });
  for (let i = 1; i <= changes; i++) {
    await mysql.query("INSERT INTO follows (follower_id, followee_id, id) VALUES (?, ?, ?)", [i, i + 1, i]);
  }
  await mysql.query("DELETE FROM follows WHERE follower_id <= ?", [changes]);
  await mysql.end();
  await drained(eventLog, fleet.urls);
  const made = (await deletions()) - before;
  // Waiting makes changes too.
  expect(made).toBeGreaterThanOrEqual(2 * changes);
  expect(made).toBeLessThan(2 * changes + 10);
});

/** Commands of Redis that have deleted something so far. */
async function deletions(): Promise<number> {
  const redis = new RedisClient(fleet.urls.redis);
  const stats = String(await redis.send("INFO", ["commandstats"]));
  redis.close();
  return Number(/cmdstat_del:calls=(\d+)/.exec(stats)?.[1] ?? 0);
}

test("all of it restarted in turn under load fails no read, loses no write and no job, and leaves the cache true", async () => {
  const began = performance.now();
  const videos = [await publish(people[0]), await publish(people[1])];
  await allReady(videos);
  const before = madeReady().flat().length;
  const load = startLoad({ call: fleet.call, people, videos });
  await load.goOn(10);
  const published: number[] = [];
  const publishing = (async () => {
    for (let i = 0; i < 8; i++) {
      published.push(await publish(people[i % people.length]));
      await Bun.sleep(1_500);
    }
  })();
  await Promise.all([fleet.restartAll(), publishing]);
  await load.goOn(10);
  await load.stop();
  expect(load.failedReads).toEqual([]);
  expect(load.failedWrites).toEqual([]);
  for (const { name, ends } of [...fleet.origins, ...fleet.workers, ...fleet.gateways, fleet.cdc])
    expect([name, ...ends]).toEqual([name, "exit code 0"]);

  await allReady(published);
  const jobs = madeReady().flat();
  expect(jobs).toHaveLength(new Set(jobs).size);
  expect(jobs.length - before).toBe(published.length);

  await drained(eventLog, fleet.urls);
  const lists = await Promise.all(people.map(({ token }) => fleet.call((api) => api.publishList(token))));
  const shown = lists.flatMap((list) => list.video_list).filter(({ id }) => videos.includes(id));
  for (const { id, comment_count, favorite_count } of shown) {
    const fans = [...load.likes].filter((like) => like.endsWith(` ${id}`));
    expect([id, comment_count, favorite_count]).toEqual([id, load.comments.get(id) ?? 0, fans.length]);
  }
  expect(shown).toHaveLength(2);
  const audit = await auditCache(fleet.urls);
  expect(audit.lies).toEqual([]);
  expect(audit.compared).toBeGreaterThan(5);
  const seconds = Math.round((performance.now() - began) / 1000);
  process.stdout.write(
    `all restarted under ${load.writes()} writes; ${seconds} s, ${audit.compared} cached keys compared\n`,
  );
});
