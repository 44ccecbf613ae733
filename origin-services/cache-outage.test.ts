import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startRedis, type TestServer } from "@flick/dev/testing.ts";

import { insertVideo } from "./testing-data.ts";
import { startTestOrigin, type TestOrigin } from "./testing.ts";

setDefaultTimeout(30_000);

let dir: string;
let redis: TestServer;
let origin: TestOrigin;
let fan: { userId: number; token: string };
let star: { userId: number; token: string };
let videoId: bigint;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-cache-outage-"));
  redis = await startRedis({ dir });
  origin = await startTestOrigin({ REDIS_URL: redis.url });
  [fan, star] = [await origin.signUp(), await origin.signUp()];
  videoId = await insertVideo(origin.db, star.userId);
});
afterAll(async () => {
  await origin.stop();
  await redis.stop();
  await rm(dir, { recursive: true });
});

/** Likes and follows or takes both back, then reads it all back as the same client. */
async function writeAndReadBack(wanted: boolean): Promise<void> {
  const { favorite, relation, video, user } = origin.as(fan.token);
  await favorite.setFavorite({ videoId, favorite: wanted });
  await relation.setFollow({ userId: BigInt(star.userId), follow: wanted });
  const count = wanted ? 1n : 0n;
  const [shown] = (await video.listPublished({ userId: BigInt(star.userId) })).videos;
  expect(shown).toMatchObject({ isFavorite: wanted, favoriteCount: count });
  expect(shown?.author).toMatchObject({ isFollow: wanted, followerCount: count, totalFavorited: count });
  expect((await user.getUser({})).user).toMatchObject({ followCount: count, favoriteCount: count });
  expect((await favorite.listFavorites({})).videos).toHaveLength(Number(count));
  expect((await relation.listFollowing({})).users).toHaveLength(Number(count));
  expect((await relation.listFollowers({ userId: BigInt(star.userId) })).users).toHaveLength(Number(count));
}

test.each(["stop", "kill"] as const)(
  "clients read what they wrote before, while and after Redis is away (%s), and soon from the cache again",
  async (end) => {
    let wanted = false;
    const goOn = () => writeAndReadBack((wanted = !wanted));
    for (let round = 0; round < 3; round++) await goOn();
    expect(origin.cacheStats().hits).toBeGreaterThan(0);
    await redis[end]();
    const startedAt = performance.now();
    for (let round = 0; round < 10; round++) await goOn();
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    const { hits } = origin.cacheStats();
    await redis.start();
    const deadline = Date.now() + 15_000;
    while (origin.cacheStats().hits === hits) {
      expect(Date.now()).toBeLessThan(deadline);
      await goOn();
    }
    for (let round = 0; round < 5; round++) await goOn();
  },
);
