/**
 * How fast the feed's pages are read, by calls in process as another service makes them:
 *
 *     bun bench/feed.ts [seconds]
 *
 * 10 000 videos of 200 authors, read by a signed-in viewer, pages of 30 from random places of the newest 3 000 (the days that the cache holds) at
 * 32 in flight, three ways one after the other on the same servers: `no cache`, Redis out of reach, the baseline; `warm`, everything cached
 * before; and `cold`, one page after the other, each with an empty cache. Each run takes `seconds` (default 3).
 */
import { migrate } from "@flick/db/migrate.ts";
import { users } from "@flick/db/schema/user.ts";
import { videos } from "@flick/db/schema/video.ts";
import { RedisClient } from "bun";

import { measure, type Measured } from "./load.ts";
import { startDurableServers } from "./servers.ts";
import { createServices, type Services } from "./services.ts";

const videoCount = 10_000;
const authorCount = 200;
const firstVideo = 10_000;
const newest = 3_000;
const viewerId = 1;
const pageLength = 30;
const now = Date.now();

const seconds = Number(process.argv[2] ?? 3);
const servers = await startDurableServers();
try {
  await migrate(servers.mysqlUrl);
  const cached = createServices(servers);
  await fill(cached);
  const uncached = createServices({ ...servers, redisUrl: "redis://127.0.0.1:1" });
  const baseline = await measure({ inFlight: 32, seconds, act: () => readPage(uncached) });
  print("no cache", baseline);
  await measure({ inFlight: 32, seconds: 1, act: () => readPage(cached) });
  print("warm", await measure({ inFlight: 32, seconds, act: () => readPage(cached) }), baseline);
  const redis = new RedisClient(servers.redisUrl);
  print("no cache, one at a time", await measure({ inFlight: 1, seconds, act: () => readPage(uncached) }));
  print(
    "cold, one at a time",
    await measure({ inFlight: 1, seconds, act: () => redis.send("FLUSHALL", []).then(() => readPage(cached)) }),
  );
  redis.close();
  await cached.close();
  await uncached.close();
} finally {
  await servers.stop();
}

async function readPage(services: Services): Promise<void> {
  const beforeMs = BigInt(now - Math.floor(Math.random() * newest));
  const page = await services.clients.video.getFeed({ beforeMs, count: pageLength }, services.as(viewerId));
  if (page.videos.length !== pageLength) throw new Error(`a page had ${page.videos.length} videos`);
}

async function fill({ db }: Services): Promise<void> {
  const account = (id: number) => ({
    id,
    name: `user ${id}`,
    nameKey: `user ${id}`,
    passwordHash: "none",
    createdAt: 1,
  });
  await db.insert(users).values(Array.from({ length: authorCount }, (_, index) => account(index + 1)));
  for (let first = 0; first < videoCount; first += 1_000) {
    await db.insert(videos).values(Array.from({ length: 1_000 }, (_, index) => video(first + index)));
  }
}

function video(index: number): typeof videos.$inferInsert {
  const id = firstVideo + index;
  const times = { createdAt: 1, feedTime: now - index, jobDueAt: 1 };
  const keys = { rawKey: `raw/${id}`, playKey: "play", coverKey: "cover" };
  return { id, authorId: (index % authorCount) + 1, title: `video ${index}`, status: "ready", ...keys, ...times };
}

function print(name: string, { rate, p50, p99 }: Measured, baseline?: Measured): void {
  const ratio = baseline ? `  ${(rate / baseline.rate).toFixed(1)} times no cache` : "";
  const line = `${name.padEnd(24)} ${rate.toFixed(0).padStart(6)} pages/s  p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms${ratio}`;
  process.stdout.write(`${line}\n`);
}
