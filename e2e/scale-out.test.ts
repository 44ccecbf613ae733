import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import { describeWithKafka } from "@flick/dev/testing-kafka.ts";
import { RedisClient } from "bun";
import { createConnection } from "mysql2/promise";

import { auditCache } from "./cache-audit.ts";
import { drained } from "./change-log.ts";
import { startFleet, type Fleet } from "./fleet.ts";
import { signUpViewers, type Viewers } from "./fleet-viewers.ts";
import { startLoad, type Person } from "./load.ts";

setDefaultTimeout(120_000);

await describeWithKafka("Flick on three origins, two workers and two gateways with one Kafka", () => {
  let fleet: Fleet;
  let viewers: Viewers;
  beforeAll(async () => {
    const services = ["user,relation", "video,favorite", "comment,message"];
    fleet = await startFleet({ services, workers: 2, gateways: 2, kafka: true });
    viewers = await signUpViewers(fleet, 4);
  });
  afterAll(() => fleet.stop());

  test("services in different processes make one page, and two workers share the jobs", async () => {
    const videos = await Promise.all(Array.from({ length: 4 }, () => viewers.publish()));
    await viewers.ready(videos);
    const [video = 0] = videos;
    const [author, fan] = viewers.people as [Person, Person];
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
    const feeds = async () => {
      const pages = await Promise.all(fleet.gateways.map(() => fleet.call((api) => api.feed())));
      return pages.map((page) => new Set(page.video_list.map(({ id: shown }) => shown)));
    };
    // Each gateway's page may be a moment old.
    for (let tries = 0; tries < 100 && !(await feeds()).every(({ size }) => size === 4); tries++) await Bun.sleep(50);
    expect(await feeds()).toEqual([new Set(videos), new Set(videos)]);
    const [one = [], two = []] = fleet.jobs("job ready");
    expect(one.length).toBeGreaterThan(0);
    expect(two.length).toBeGreaterThan(0);
    expect(new Set([...one, ...two]).size).toBe(videos.length);
    expect(one.length + two.length).toBe(videos.length);
  });

  test("the consumers of all origins are one group: each change is worked through once", async () => {
    await drained(fleet.eventLog, fleet.urls);
    const changes = 60;
    const before = await deletions();
    // Written by nobody who would delete anything.
    const mysql = await createConnection({ uri: fleet.urls.mysql });
    for (let i = 1; i <= changes; i++) {
      await mysql.query("INSERT INTO follows (follower_id, followee_id, id) VALUES (?, ?, ?)", [i, i + 1, i]);
    }
    await mysql.query("DELETE FROM follows WHERE follower_id <= ?", [changes]);
    await mysql.end();
    await drained(fleet.eventLog, fleet.urls);
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
    const videos = [await viewers.publish(), await viewers.publish()];
    await viewers.ready(videos);
    const before = fleet.jobs("job ready").flat().length;
    const load = startLoad({ call: fleet.call, people: viewers.people, videos });
    await load.goOn(10);
    const published: number[] = [];
    const publishing = (async () => {
      for (let i = 0; i < 4; i++) {
        published.push(await viewers.publish());
        await Bun.sleep(2_000);
      }
    })();
    await Promise.all([fleet.restartAll(), publishing]);
    await load.goOn(10);
    await load.stop();
    expect(load.failedReads).toEqual([]);
    expect(load.failedWrites).toEqual([]);
    for (const { name, ends } of [...fleet.origins, ...fleet.workers, ...fleet.gateways, fleet.cdc])
      expect([name, ...ends]).toEqual([name, "exit code 0"]);

    await viewers.ready(published);
    const ready = fleet.jobs("job ready").flat();
    expect(ready).toHaveLength(new Set(ready).size);
    expect(ready.length - before).toBe(published.length);

    await drained(fleet.eventLog, fleet.urls);
    expect(await viewers.wrongCounts(load)).toEqual([]);
    const audit = await auditCache(fleet.urls);
    expect(audit.lies).toEqual([]);
    expect(audit.compared).toBeGreaterThan(5);
    const seconds = Math.round((performance.now() - began) / 1000);
    process.stdout.write(
      `all restarted under ${load.writes()} writes; ${seconds} s, ${audit.compared} keys compared\n`,
    );
  });
});
