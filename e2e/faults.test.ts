import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import { ApiError } from "@flick/dev/api-client.ts";

import { atFullSpeed, ffmpeg, runStack, type RunningStack } from "./running-stack.ts";

let flick: RunningStack;
let author: { user_id: number; token: string };
/** A video that is worked on for a while, and one that is ready soon. */
let long: string;
let short: string;
beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
  author = await flick.signUp();
  long = join(flick.dir, "long.mp4");
  const sources = ["-f", "lavfi", "-i", "testsrc2=size=720x1280:rate=25", "-f", "lavfi", "-i", "sine=frequency=440"];
  await ffmpeg(...sources, "-t", "4", "-preset", "ultrafast", "-pix_fmt", "yuv420p", long);
  short = join(flick.dir, "short.mp4");
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x284:rate=10", "-t", "1", "-pix_fmt", "yuv420p", short);
}, 60_000);
afterAll(() => flick.stop(), 30_000);

const pidOf = (name: string) => flick.pidOf(name);
/** A read that asks the database whatever is cached: friends are not. */
const readFriends = () => flick.api.friendList(author.token);
const publish = (title: string, clip = short) => flick.api.publish(author.token, title, Bun.file(clip));

async function until(what: string, holds: () => Promise<boolean> | boolean, withinMs = 30_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}\n${flick.printed().slice(-3000)}`);
    await Bun.sleep(50);
  }
}

/** What a call came to: "success", or the HTTP status that it failed with. */
const outcome = (call: Promise<unknown>) =>
  call.then(
    () => "success",
    (error: unknown) => (error instanceof ApiError ? error.httpStatus : String(error)),
  );

test("a worker killed in the middle of a job loses nothing and publishes nothing twice", async () => {
  const { video_id } = await publish("interrupted", long);
  await until("the job is taken", async () => {
    const { video_list } = await flick.api.publishList(author.token);
    return video_list.find((each) => each.id === video_id)?.status === "processing";
  });
  process.kill(pidOf("worker"), "SIGKILL");
  expect((await flick.settled(author.token, video_id)).status).toBe("ready");
  const feed = await flick.feedIs((videos) => videos.some(({ id }) => id === video_id));
  expect(feed.filter(({ id }) => id === video_id)).toHaveLength(1);
}, 180_000);

test("MySQL hanging for 5 s brings clear errors within their deadline, then everything works again", async () => {
  const mysql = pidOf("mariadb");
  process.kill(mysql, "SIGSTOP");
  const stopped = Date.now();
  try {
    while (Date.now() - stopped < 5_000) {
      const before = Date.now();
      expect([503, 504]).toContain(Number(await outcome(readFriends())));
      expect(Date.now() - before).toBeLessThan(8_000);
    }
  } finally {
    process.kill(mysql, "SIGCONT");
  }
  await until("reads work again", async () => (await outcome(readFriends())) === "success", 10_000);
  expect(await outcome(flick.api.feed())).toBe("success");
}, 60_000);

test("MySQL killed brings 503s, then everything works again without a restart of ours", async () => {
  const ours = ["gateway", "origin", "worker", "cdc"].map(pidOf);
  process.kill(pidOf("mariadb"), "SIGKILL");
  const seen = new Set<unknown>();
  await until("reads fail", async () => {
    seen.add(await outcome(readFriends()));
    return seen.size > 0;
  });
  await until("reads work again", async () => {
    const result = await outcome(readFriends());
    seen.add(result);
    return result === "success";
  });
  for (const result of seen) expect(["success", 503, 504]).toContain(result as string);
  expect(["gateway", "origin", "worker", "cdc"].map(pidOf)).toEqual(ours);
  const { video_id } = await publish("after MySQL");
  expect((await flick.settled(author.token, video_id)).status).toBe("ready");
}, 180_000);

test("Redis hanging for 5 s keeps nobody from publishing, and the video becomes ready", async () => {
  const redis = pidOf("redis");
  process.kill(redis, "SIGSTOP");
  try {
    const { video_id } = await publish("without Redis");
    expect(await outcome(flick.api.feed())).toBe("success");
    await Bun.sleep(5_000);
    process.kill(redis, "SIGCONT");
    expect((await flick.settled(author.token, video_id)).status).toBe("ready");
  } finally {
    process.kill(redis, "SIGCONT");
  }
}, 180_000);

test.each(["redis", "cdc", "origin", "gateway", "oss"])(
  "%s killed comes back, and publishing works",
  async (name) => {
    const pid = pidOf(name);
    process.kill(pid, "SIGKILL");
    await until(`${name} runs again`, () =>
      flick.stack.running().some((each) => each.name === name && each.pid !== pid),
    );
    await until("reads work again", async () => (await outcome(readFriends())) === "success");
    const published: number[] = [];
    await until("publishing works again", async () => {
      const made = await publish(`after ${name}`).catch(() => null);
      if (made) published.push(made.video_id);
      return made !== null;
    });
    expect((await flick.settled(author.token, published[0] ?? 0)).status).toBe("ready");
  },
  180_000,
);
