import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { runCommandLine } from "@flick/platform/command.ts";

import { ApiError, createApiClient, type ApiClient } from "./api-client.ts";
import { demoClips, renderClip } from "./demo-clips.ts";

const help = `Fills a running Flick with a living feed: a few users, a dozen short clips made by FFmpeg.

  bun run demo [--url http://127.0.0.1:8080]
`;

const people = ["mika", "jonas", "ayşe", "小林"];
const readyWithinMs = 300_000;

await runCommandLine({
  help,
  async run(args) {
    const { values } = parseArgs({ args, options: { url: { type: "string" } } });
    const url = values.url ?? `http://127.0.0.1:${process.env["FLICK_PORT"] ?? "8080"}`;
    await fillFeed(url).catch((error: unknown) => {
      throw new Error(`\n${explain(error, url)}`);
    });
  },
});

async function fillFeed(url: string): Promise<void> {
  const api = createApiClient(url);
  await api.feed();
  const began = Date.now();
  const password = randomBytes(9).toString("base64url");
  const authors = await Promise.all(people.map((name) => signUp(api, name, password)));
  const show = createProgress(demoClips.length);
  const dir = await mkdtemp(join(tmpdir(), "flick-demo-"));
  try {
    // One after the other: the media worker needs the processor as much as the rendering does.
    for (const [index, clip] of demoClips.entries()) {
      const path = await renderClip(clip, dir, index);
      show({ made: index + 1 }, clip.title);
      await api.publish(authors[index % authors.length]?.token ?? "", clip.title, Bun.file(path));
      show({ uploaded: index + 1 }, clip.title);
      show(await countDone(api, authors), clip.title);
    }
    await allReady(api, authors, show);
  } finally {
    await rm(dir, { recursive: true });
  }
  const names = authors.map((author) => author.name).join(", ");
  process.stdout.write(`
The feed has ${demoClips.length} new videos after ${Math.round((Date.now() - began) / 1000)} s:
  ${url}/douyin/feed/
They were published by ${names}; sign in as any of them with the password ${password}
`);
}

interface Author {
  name: string;
  token: string;
}

/** A demo user of this name, or of this name with a number when somebody has it already. */
async function signUp(api: ApiClient, wanted: string, password: string): Promise<Author> {
  for (let number = 1; number <= 1000; number++) {
    const name = number === 1 ? wanted : `${wanted} ${number}`;
    try {
      return { name, token: (await api.register(name, password)).token };
    } catch (error) {
      if (!(error instanceof ApiError) || !error.message.includes("already in use")) throw error;
    }
  }
  throw new Error(`1000 demo users named ${wanted} are enough: run dev:reset`);
}

async function countDone(api: ApiClient, authors: Author[]): Promise<{ ready: number; failed: number }> {
  const lists = await Promise.all(authors.map((author) => api.publishList(author.token)));
  const all = lists.flatMap((list) => list.video_list);
  const count = (status: string) => all.filter((video) => video.status === status).length;
  return { ready: count("ready"), failed: count("failed") };
}

async function allReady(api: ApiClient, authors: Author[], show: ReturnType<typeof createProgress>): Promise<void> {
  const deadline = Date.now() + readyWithinMs;
  while (Date.now() < deadline) {
    const done = await countDone(api, authors);
    show(done, "waiting for the media worker");
    if (done.failed > 0) throw new Error(`${done.failed} of the clips failed; the media worker's log says why`);
    if (done.ready === demoClips.length) return;
    await Bun.sleep(500);
  }
  throw new Error(`not all clips were ready after ${readyWithinMs / 1000} s: is the media worker running?`);
}

/** One line that is drawn over and over on a terminal; elsewhere a line for every change. */
function createProgress(total: number) {
  const counts = { made: 0, uploaded: 0, ready: 0, failed: 0 };
  let shown = "";
  return (change: Partial<typeof counts>, doing: string) => {
    Object.assign(counts, change);
    const filled = Math.round((counts.ready / total) * 20);
    const bar = `${"█".repeat(filled)}${"░".repeat(20 - filled)}`;
    const line = `${bar} made ${counts.made}, uploaded ${counts.uploaded}, ready ${counts.ready} of ${total}`;
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[2K${line} · ${doing}`);
    else if (line !== shown) process.stdout.write(`${line}\n`);
    shown = line;
  };
}

function explain(error: unknown, url: string): string {
  if (error instanceof ApiError) return `Flick at ${url} said: ${error.message} (status_code ${error.statusCode})`;
  if (error instanceof Error && /connect|refused/i.test(`${error.name} ${error.message}`)) {
    return `No Flick answers at ${url}. Start one with: npx --yes bun dev`;
  }
  return error instanceof Error ? error.message : String(error);
}
