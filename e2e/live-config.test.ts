import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { ApiError } from "@flick/dev/api-client.ts";

import { atFullSpeed, ffmpeg, runStack, type RunningStack } from "./running-stack.ts";

setDefaultTimeout(90_000);

let flick: RunningStack;
let author: { user_id: number; token: string };
let videoId: number;
beforeAll(async () => {
  flick = await runStack({ gateway: { ...atFullSpeed, features: { messages: false } } });
  author = await flick.signUp();
  videoId = await publish();
  await flick.settled(author.token, videoId);
});
afterAll(() => flick.stop());

async function publish(): Promise<number> {
  const clip = join(flick.dir, "clip.mp4");
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x284:rate=10", "-t", "1", "-pix_fmt", "yuv420p", clip);
  return (await flick.api.publish(author.token, "a video", Bun.file(clip))).video_id;
}

/** `bun run config`, which finds this stack as it finds the local one: by its data folder and its ports. */
async function config(...words: string[]): Promise<string> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../dev/config/main.ts"), ...words], {
    env: {
      PATH: process.env["PATH"] ?? "",
      FLICK_DATA_DIR: join(flick.dir, "data"),
      FLICK_REDIS_PORT: new URL(flick.stack.urls.redis).port,
    },
    stdout: "pipe",
    stderr: "pipe",
    timeout: 30_000,
  });
  const [out, complaint] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect({ code: await child.exited, complaint }).toEqual({ code: 0, complaint: "" });
  return out;
}

/** Within 10 s everything has a new configuration; what follows from it may take a little longer. */
async function soon(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 12_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within 12 s: ${what}\n${flick.printed().slice(-3000)}`);
    await Bun.sleep(250);
  }
}

const statusOf = async (call: Promise<unknown>) =>
  call.then(
    () => 0,
    (error: unknown) => (error instanceof ApiError ? error.statusCode : -1),
  );
const turnedOff = 10009;

test("what is stored before the stack starts applies to its first request", async () => {
  expect(await statusOf(flick.api.sendMessage(author.token, author.user_id + 1, "hello"))).toBe(turnedOff);
  expect(await config("get", "gateway")).toMatch(/^gateway: version 1,.*for tests$/m);
});

test("comments are closed and opened again while everything runs", async () => {
  const comment = () => statusOf(flick.api.comment(author.token, videoId, "so it is"));
  expect(await comment()).toBe(0);
  await config("set", "gateway", "features.comments=false");
  await soon("comments are closed", async () => (await comment()) === turnedOff);
  await config("rollback", "gateway", "1");
  await soon("comments are open", async () => (await comment()) === 0);
});

test("a paused media worker takes no job until it goes on", async () => {
  await config("set", "media-worker", "jobs.paused=true");
  await soon("the worker knows", async () => /worker .*configuration taken/i.test(flick.printed()));
  const id = await publish();
  const status = async () =>
    (await flick.api.publishList(author.token)).video_list.find((each) => each.id === id)?.status;
  await Bun.sleep(3_000);
  expect(await status()).toBe("uploaded");
  await config("set", "media-worker", "jobs.paused=default");
  expect((await flick.settled(author.token, id)).status).toBe("ready");
});

test("the origin takes its settings too", async () => {
  await config("set", "origin", "cache.ttlPercent=50");
  await soon("the origin knows", async () => /origin .*configuration taken version=1/.test(flick.printed()));
  await config("set", "origin", "log.level=warn");
  await config("set", "origin", "cache.ttlPercent=default", "log.level=default");
  await soon("the origin knows", async () => /origin .*configuration taken version=3/.test(flick.printed()));
});
