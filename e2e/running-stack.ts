import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createApiClient, type ApiClient, type ApiVideo } from "@flick/dev/api-client.ts";
import { createOutput } from "@flick/dev/output.ts";
import { freePorts } from "@flick/dev/ports.ts";
import { startStack, type Stack } from "@flick/dev/stack.ts";
import { createConfigStore } from "@flick/platform/live-config/config-store.ts";
import { createLog } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { createRedisConnection } from "@flick/platform/redis-connection.ts";

export interface RunningStack {
  stack: Stack;
  api: ApiClient;
  url: string;
  /** A folder for the test's files, gone after `stop`. */
  dir: string;
  objects: ObjectStore;
  /** What all programs have printed so far. */
  printed(): string;
  /** Of the program that runs now under this name. */
  pidOf(name: string): number;
  /** A new account with a name of its own. */
  signUp(): Promise<{ user_id: number; token: string; name: string }>;
  /** Waits until the video is ready or has failed, as its author sees it. */
  settled(token: string, videoId: number): Promise<ApiVideo>;
  /** Waits until everybody's feed, which may be a moment old, is as it should be. */
  feedIs(right: (videos: ApiVideo[]) => boolean): Promise<ApiVideo[]>;
  stop(): Promise<void>;
}

const settledWithinMs = 90_000;
const feedWithinMs = 10_000;

const noQuota = { perUser: { count: 0 } };

/** The gateway's settings for tests in which few users do more in a short time than people do. */
export const atFullSpeed = {
  limits: {
    requests: { perUser: "off" },
    login: { perAccountAndIp: { count: 0 }, perAccount: { count: 0 } },
    register: { perAccount: { count: 0 } },
    publish: noQuota,
    cover: noQuota,
    profile: noQuota,
    comment: noQuota,
    message: noQuota,
    follow: noQuota,
  },
};

/**
 * The whole of Flick, as `bun dev` runs it, on free ports and a data folder of its own; as `bun dev --kafka` does with
 * `FLICK_TEST_STACK=kafka`.
 *
 * @param options.gateway its live configuration, which it has from the start.
 */
export async function runStack(options: { gateway?: object } = {}): Promise<RunningStack> {
  const dir = await mkdtemp(join(tmpdir(), "flick-e2e-"));
  const [gateway = 0, origin = 0, oss = 0, upstash = 0, worker = 0, mysql = 0, redis = 0] = await freePorts(7);
  const onKafka = process.env["FLICK_TEST_STACK"] === "kafka";
  const [port = 0, controllerPort = 0] = onKafka ? await freePorts(2) : [];
  let printed = "";
  const stack = await startStack({
    dataDir: join(dir, "data"),
    ports: { gateway, origin, oss, upstash, worker, mysql, redis },
    ...(onKafka ? { kafka: { port, controllerPort } } : {}),
    maxUploadBytes: 1024 * 1024 * 1024,
    logLevel: "info",
    output: createOutput({ write: (text) => void (printed += text), colour: false }),
    onGiveUp: (reason) => void (printed += `gave up: ${reason.message}\n`),
    prepareRedis: (url) => configure(url, options.gateway),
  });
  const secrets = (await Bun.file(stack.secretsFile).json()) as { ossAccessKeyId: string; ossAccessKeySecret: string };
  const api = createApiClient(stack.urls.gateway);
  let users = 0;
  return {
    stack,
    api,
    url: stack.urls.gateway,
    dir,
    objects: createObjectStore({
      endpoint: `http://localhost:${oss}`,
      region: "local",
      bucket: "flick",
      accessKeyId: secrets.ossAccessKeyId,
      accessKeySecret: secrets.ossAccessKeySecret,
    }),
    printed: () => printed,
    pidOf(name) {
      const program = stack.running().find((each) => each.name === name);
      if (!program) throw new Error(`${name} does not run`);
      return program.pid;
    },
    async signUp() {
      const name = `viewer ${++users}`;
      return { ...(await api.register(name, "a good password")), name };
    },
    async settled(token, videoId) {
      const deadline = Date.now() + settledWithinMs;
      while (Date.now() < deadline) {
        const { video_list: list } = await api.publishList(token).catch(() => ({ video_list: [] as ApiVideo[] }));
        const video = list.find((each) => each.id === videoId);
        if (video?.status === "ready" || video?.status === "failed") return video;
        await Bun.sleep(200);
      }
      throw new Error(`the video was not settled within ${settledWithinMs} ms:\n${printed.slice(-4000)}`);
    },
    async feedIs(right) {
      const deadline = Date.now() + feedWithinMs;
      for (;;) {
        const { video_list: videos } = await api.feed();
        if (right(videos)) return videos;
        if (Date.now() > deadline) throw new Error(`the feed was ${JSON.stringify(videos.map(({ id }) => id))}`);
        await Bun.sleep(50);
      }
    },
    async stop() {
      await stack.stop();
      await rm(dir, { recursive: true });
    },
  };
}

/** Stores a live configuration of the gateway. */
export async function configure(redisUrl: string, settings: object | undefined): Promise<void> {
  if (!settings) return;
  const log = createLog({ program: "tests", level: "error" });
  const connection = createRedisConnection({ url: redisUrl, log, timeoutMs: 5_000 });
  await createConfigStore(connection).write("gateway", { from: 0, settings, note: "for tests" });
  connection.close();
}

/** Runs FFmpeg; for clips and for measuring what came out. */
export async function ffmpeg(...args: string[]): Promise<void> {
  await run("ffmpeg", "-v", "error", "-nostdin", "-y", ...args);
}

interface Probe {
  format: { duration: string; tags?: Record<string, string> };
  streams: { codec_type: string; codec_name: string; width?: number; height?: number; pix_fmt?: string }[];
}

export async function ffprobe(path: string): Promise<Probe> {
  return JSON.parse(await run("ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", path)) as Probe;
}

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: 60_000 });
  const [code, output, complaint] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${complaint}`);
  return output;
}
