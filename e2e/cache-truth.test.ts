import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import type { EventLog } from "@flick/platform/event-log/event-log.ts";

import { auditCache } from "./cache-audit.ts";
import { drained } from "./change-log.ts";
import { eventLogOf } from "./event-log.ts";
import { atFullSpeed, ffmpeg, runStack, type RunningStack } from "./running-stack.ts";

type Person = Awaited<ReturnType<RunningStack["signUp"]>>;

const rounds = 4;
const burstMs = 1_500;

let flick: RunningStack;
let people: Person[];
let videos: number[];
let eventLog: EventLog;
beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
  eventLog = eventLogOf(flick.stack.urls);
  people = await Promise.all(Array.from({ length: 6 }, () => flick.signUp()));
  const clip = join(flick.dir, "clip.mp4");
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x284:rate=10", "-t", "1", "-pix_fmt", "yuv420p", clip);
  videos = await Promise.all(
    people.slice(0, 3).map(async ({ token }) => (await flick.api.publish(token, "a video", Bun.file(clip))).video_id),
  );
  await Promise.all(videos.map((id, index) => flick.settled(people[index]?.token ?? "", id)));
}, 120_000);
afterAll(async () => {
  await eventLog.close();
  await flick.stop();
}, 30_000);

const any = <T>(all: T[]): T => all[Math.floor(Math.random() * all.length)] as T;
const action = () => any<1 | 2>([1, 2]);

/** Writes and reads at random; what fails while the origin is away is nobody's fault. */
async function live(me: Person, until: number): Promise<void> {
  const { api } = flick;
  while (Date.now() < until) {
    const [video, other] = [any(videos), any(people).user_id];
    await any([
      () => api.favorite(me.token, video, action()),
      () => api.follow(me.token, other, action()),
      () => api.comment(me.token, video, "so it is"),
      () => api.feed({ token: me.token }),
      () => api.user(me.token, other),
      () => api.favoriteList(me.token, other),
      () => api.followList(me.token, other),
      () => api.followerList(me.token, other),
      () => api.commentList(video, { token: me.token }),
    ])().catch(() => {});
  }
}

test("an origin killed between commits and deletions leaves nothing in the cache that the database does not say", async () => {
  let compared = 0;
  for (let round = 0; round < rounds; round++) {
    const origin = flick.pidOf("origin");
    const end = Date.now() + burstMs;
    const living = people.flatMap((me) => [live(me, end), live(me, end)]);
    await Bun.sleep(burstMs * (0.3 + 0.6 * Math.random()));
    process.kill(origin, "SIGKILL");
    await Promise.all(living);
    // The feed would be answered without it.
    const { token } = people[0] as Person;
    while ((await flick.api.publishList(token).catch(() => null)) === null) await Bun.sleep(50);
    await drained(eventLog, flick.stack.urls);
    const audit = await auditCache(flick.stack.urls);
    expect(audit.lies).toEqual([]);
    compared += audit.compared;
  }
  expect(compared).toBeGreaterThan(rounds * 10);
  process.stdout.write(`${rounds} kills, ${compared} cached keys compared\n`);
}, 180_000);
