import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";

import type { ApiError } from "@flick/dev/api-client.ts";
import { openEventStream } from "@flick/dev/event-stream.ts";
import { uploadFile } from "@flick/dev/upload-file.ts";

import { ffmpeg, runStack, type RunningStack } from "./running-stack.ts";

setDefaultTimeout(180_000);

const mebibyte = 2 ** 20;
let flick: RunningStack;
beforeAll(async () => {
  flick = await runStack();
}, 60_000);
afterAll(() => flick.stop(), 30_000);

let clips = 0;
/** A clip of a second that nobody has made before, followed by so many bytes that players skip. */
async function makeClip(paddingBytes = 0): Promise<string> {
  const path = join(flick.dir, `clip-${++clips}.mp4`);
  const source = `testsrc2=size=160x120:rate=10:duration=1,hue=h=${clips * 40}`;
  await ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-preset", "ultrafast", path);
  if (paddingBytes > 0) {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(paddingBytes);
    head.write("free", 4, "latin1");
    await appendFile(path, Buffer.concat([head, Buffer.alloc(paddingBytes - 8, clips)]));
  }
  return path;
}

/** `bun run upload` with some arguments; `killWhen` ends it with SIGKILL once what it has printed is as wanted. */
async function runUpload(args: string[], killWhen?: (printed: string) => boolean) {
  const command = [process.execPath, join(import.meta.dir, "../dev/upload.ts"), "--url", flick.url, ...args];
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const errors = child.stderr.text();
  let printed = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += chunk;
    if (killWhen?.(printed)) child.kill("SIGKILL");
  }
  return { code: await child.exited, printed, errors: await errors };
}

async function until(what: string, holds: () => Promise<boolean> | boolean, withinMs = 60_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}\n${flick.printed().slice(-3000)}`);
    await Bun.sleep(100);
  }
}

test("an upload whose program is killed goes on where it was, and a file is not uploaded twice", async () => {
  const path = await makeClip(160 * mebibyte);
  const { token } = await flick.signUp();
  const args = [path, "--token", token, "--title", "in two goes", "--parallel", "2"];
  const killed = await runUpload(args, (printed) => /: (3|4|5)\d of \d+ MiB sent/.test(printed));
  expect(killed.code).toBe(137);
  expect((await flick.api.publishList(token)).video_list).toEqual([]);

  const second = await runUpload(args);
  expect(second.errors).toBe("");
  const [, sentBefore] = /: (\d+) of \d+ MiB sent/.exec(second.printed) ?? [];
  expect(Number(sentBefore)).toBeGreaterThanOrEqual(24);
  expect(second.printed).toContain("ready as video");
  expect(second.code).toBe(0);
  const { video_list: mine } = await flick.api.publishList(token);
  expect(mine).toMatchObject([{ title: "in two goes", status: "ready" }]);

  const third = await runUpload(args);
  expect(third.printed).toContain(`is published already, as video ${mine[0]?.id}`);
  expect(third.printed).not.toContain("sent");
  expect((await flick.api.publishList(token)).video_list).toHaveLength(1);
});

test("an upload outlasts object storage and the origin being killed", async () => {
  const path = await makeClip(64 * mebibyte);
  const { token } = await flick.signUp();
  const victims = ["oss", "origin"];
  const onProgress = ({ bytes }: { bytes: number }) => {
    if (bytes < 16 * mebibyte) return;
    const victim = victims.shift();
    if (victim) process.kill(flick.pidOf(victim), "SIGKILL");
  };
  const options = { title: "through an outage", parallel: 1, attempts: 12, onProgress };
  const { videoId } = await uploadFile(flick.api, token, path, options);
  expect(victims).toEqual([]);
  expect((await flick.settled(token, videoId)).status).toBe("ready");
});

test("errors say what is wrong", async () => {
  const { token } = await flick.signUp();
  const text = join(flick.dir, "text.mp4");
  await Bun.write(text, "this is no video at all, and long enough to be looked at as one by the server");
  const refused = await runUpload([text, join(flick.dir, "missing.mp4"), "--token", token]);
  expect(refused.printed).toContain("this is not a video that Flick takes (MP4, MOV, MKV or WebM)");
  expect(refused.printed).toContain("there is no such file");
  expect(refused.code).toBe(1);
  const stranger = await runUpload([await makeClip(), "--token", "nobody"]);
  expect(stranger.printed).toMatch(/Flick said: .*token/i);
  const nowhere = await runUpload([
    await makeClip(),
    "--url",
    "http://127.0.0.1:1",
    "--user",
    "a",
    "--password",
    "secret1",
  ]);
  expect(nowhere.errors).toContain("No Flick answers there");
});

test("an author hears how the video gets ready, and nothing of it is left a minute after its deletion", async () => {
  const { token } = await flick.signUp();
  const fan = await flick.signUp();
  const stream = await openEventStream(`${flick.url}/douyin/publish/events?token=${token}`);
  const { videoId } = await uploadFile(flick.api, token, await makeClip(), { title: "short-lived" });
  const said = () => stream.events.map(({ data }) => JSON.parse(data) as { video_id: number; status: string });
  await until("it is ready", () => said().some(({ status }) => status === "ready"));
  // States that follow each other quickly may be left out.
  expect(said().every(({ video_id }) => video_id === videoId)).toBe(true);
  expect(["uploaded", "processing"]).toContain(said()[0]?.status ?? "");
  expect(await flick.api.publishStatus(token, videoId)).toMatchObject({ status: "ready", percent: 100 });
  await flick.api.favorite(fan.token, videoId, 1);
  await flick.api.comment(fan.token, videoId, "nice");
  const mine = `raw/${String(videoId).padStart(16, "0")}-`;
  expect(await flick.objects.list(mine)).toHaveLength(1);
  expect((await flick.objects.list(`videos/${videoId}/`)).length).toBeGreaterThan(1);

  const deletedAt = Date.now();
  await flick.api.deleteVideo(token, videoId);
  process.kill(flick.pidOf("origin"), "SIGKILL");
  const nothingOf = async (prefix: string) => (await flick.objects.list(prefix)).length === 0;
  await until("its objects are gone", async () => (await nothingOf(mine)) && (await nothingOf(`videos/${videoId}/`)));
  await until("nobody likes it", async () => (await flick.api.favoriteList(fan.token)).video_list.length === 0);
  await until("its likes count no more", async () => (await flick.api.user(fan.token)).user.favorite_count === 0);
  await until("its comments are gone", async () => (await flick.api.commentList(videoId)).comment_list.length === 0);
  await until("its row is gone", () => flick.printed().includes("removed deleted videos"));
  expect(Date.now() - deletedAt).toBeLessThan(60_000);
  const status = flick.api.publishStatus(token, videoId).catch((error: unknown) => (error as ApiError).statusCode);
  expect(await status).toBe(30003);
  await stream.close();
});

test("operators list jobs and retry them from the command line", async () => {
  const { token } = await flick.signUp();
  const broken = join(flick.dir, "broken.mp4");
  await Bun.write(broken, Buffer.concat([Buffer.from("\0\0\0\x20ftypisom", "latin1"), Buffer.alloc(1000)]));
  const { videoId } = await uploadFile(flick.api, token, broken, { title: "broken" });
  expect((await flick.settled(token, videoId)).status).toBe("failed");
  const secrets = (await Bun.file(flick.stack.secretsFile).json()) as { serviceTokenSecret: string };
  const media = async (...args: string[]) => {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "../media-worker/cli.ts"), ...args], {
      env: { ...process.env, ORIGIN_URL: flick.stack.urls.origin, SERVICE_TOKEN_SECRET: secrets.serviceTokenSecret },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [printed, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { printed, errors, code };
  };
  const failed = await media("jobs", "--state", "failed");
  expect(failed.printed).toContain(`video ${videoId} failed, attempts 1`);
  expect((await media("dlq")).printed).toBe("0 dead\n");
  expect(await media("retry", String(videoId))).toEqual({ printed: `${videoId}: due now\n`, errors: "", code: 0 });
  expect((await flick.settled(token, videoId)).status).toBe("failed");
  expect(await media("retry", "12")).toMatchObject({ code: 1 });
  expect(await media("retry")).toMatchObject({ code: 2, errors: "say which: ids, or --dead\n" });
  expect((await media("nonsense")).errors).toContain("There is no command nonsense");
});
