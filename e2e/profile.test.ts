import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import { ffmpeg, ffprobe, runStack, type RunningStack } from "./running-stack.ts";

interface Answer {
  status_code: number;
  user: { avatar: string; background_image: string; signature: string };
}

let flick: RunningStack;
beforeAll(async () => {
  flick = await runStack();
}, 60_000);
afterAll(() => flick.stop(), 30_000);

const readyWithinMs = 30_000;

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + readyWithinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}:\n${flick.printed().slice(-4000)}`);
    await Bun.sleep(100);
  }
}

test("an avatar and a signature that somebody sends are in their profile, the avatar as soon as it is ready", async () => {
  const { token } = await flick.signUp();
  const headers = { authorization: `Bearer ${token}` };
  const profile = async () => {
    const response = await fetch(`${flick.url}/douyin/user/`, { headers });
    return ((await response.json()) as Answer).user;
  };
  const before = await profile();

  const path = join(flick.dir, "me.png");
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1280x720", "-frames:v", "1", path);
  const body = new FormData();
  body.append("avatar", Bun.file(path), "me.png");
  body.append("signature", "I film 🐻");
  const response = await fetch(`${flick.url}/douyin/user/update/`, { method: "POST", body, headers });
  const answer = (await response.json()) as Answer;
  expect(answer).toMatchObject({ status_code: 0, user: { signature: "I film 🐻", avatar: before.avatar } });

  await until(async () => (await profile()).avatar !== before.avatar, "the avatar");
  const after = await profile();
  expect(after).toMatchObject({ signature: "I film 🐻", background_image: before.background_image });
  const made = join(flick.dir, "made.jpg");
  await Bun.write(made, await fetch(after.avatar));
  expect((await ffprobe(made)).streams).toMatchObject([{ codec_name: "mjpeg", width: 512, height: 512 }]);
  await until(async () => (await flick.objects.list("raw-images/")).length === 0, "the end of the upload");
}, 60_000);
