import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { ApiError, createApiClient } from "@flick/dev/api-client.ts";
import { freePorts, host } from "@flick/dev/ports.ts";
import { startProgram, type Program } from "@flick/dev/program.ts";
import { originSpec } from "@flick/dev/programs.ts";
import { instancesKey } from "@flick/proto/instances.ts";
import { RedisClient } from "bun";

import { atFullSpeed, ffmpeg, runStack, type RunningStack } from "./running-stack.ts";

setDefaultTimeout(120_000);

let flick: RunningStack;
let redis: RedisClient;
let videoId: number;
let people: { token: string }[];
let nodes = 0;
beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
  redis = new RedisClient(flick.stack.urls.redis);
  people = await Promise.all(Array.from({ length: 8 }, () => flick.signUp()));
  const clip = join(flick.dir, "clip.mp4");
  const picture = ["-f", "lavfi", "-i", "testsrc2=size=360x640:rate=25", "-t", "1", "-preset", "ultrafast"];
  await ffmpeg(...picture, "-pix_fmt", "yuv420p", clip);
  const token = people[0]?.token ?? "";
  videoId = (await flick.api.publish(token, "for many", Bun.file(clip))).video_id;
  await flick.settled(token, videoId);
});
afterAll(async () => {
  redis.close();
  await flick.stop();
});

interface ExtraOrigin {
  url: string;
  program: Program;
}

const extras: ExtraOrigin[] = [];
afterEach(async () => {
  for (const { program } of extras.splice(0)) {
    program.kill();
    await program.exited;
  }
});

/** Another origin beside the stack's own, as a process of its own over the same servers; resolves when it is announced. */
async function startOrigin(): Promise<ExtraOrigin> {
  const [port = 0] = await freePorts(1);
  const { mysql, redis: redisUrl, oss } = flick.stack.urls;
  const secrets = (await Bun.file(flick.stack.secretsFile).json()) as Record<string, string>;
  const spec = originSpec({
    mysqlUrl: mysql,
    redisUrl,
    ossUrl: oss.replace(host, "localhost"),
    ossPublicUrl: oss,
    oss: {
      region: "local",
      bucket: "flick",
      accessKeyId: secrets["ossAccessKeyId"] ?? "",
      accessKeySecret: secrets["ossAccessKeySecret"] ?? "",
    },
    upstash: { url: "", token: "" },
    jwtKeyFile: join(flick.dir, "data/secrets/jwt.json"),
    serviceTokenSecret: secrets["serviceTokenSecret"] ?? "",
    workDir: flick.dir,
    maxUploadBytes: 1024 * 1024,
    logLevel: "warn",
    ports: { gateway: 0, origin: port, worker: 0 },
  });
  const url = `http://${host}:${port}`;
  const env = { ...spec.env, NODE_ID: String(++nodes), LINGER_MS: "3000" };
  const program = startProgram({ ...spec, env, stopWithinMs: 20_000 }, () => {});
  const origin = { url, program };
  extras.push(origin);
  await program.ready;
  await until(`${url} is announced`, () => redis.hexists(instancesKey, url));
  return origin;
}

async function until(what: string, holds: () => Promise<boolean> | boolean, withinMs = 30_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await Bun.sleep(50);
  }
}

interface Load {
  /** What went wrong, by the client that it happened to. */
  failedReads: string[];
  failedWrites: string[][];
  /** Resolves when every client has made so many more calls of each kind. */
  goOn(calls: number): Promise<void>;
  stop(): Promise<void>;
}

/** People who read and people who write, each without a pause. Neither is answered from a cache of the gateway. */
function startLoad(options = { writes: true }): Load {
  const stopping = new AbortController();
  const { signal } = stopping;
  const done: number[] = [];
  const api = createApiClient(flick.url, { reuseConnections: false });
  const load: Load = {
    failedReads: [],
    failedWrites: people.map(() => []),
    goOn(calls) {
      const goal = done.map((count) => count + calls);
      return until("the load goes on", () => goal.every((count, index) => (done[index] ?? 0) >= count), 60_000);
    },
    async stop() {
      stopping.abort();
      await clients;
    },
  };
  const repeat = async (call: () => Promise<unknown>, failures: string[] | undefined) => {
    const client = done.push(0) - 1;
    while (!signal.aborted) {
      await call().catch((error: unknown) => {
        failures?.push(error instanceof ApiError ? `${error.httpStatus} ${error.message}` : String(error));
      });
      done[client] = (done[client] ?? 0) + 1;
    }
  };
  const clients = Promise.all(
    people.flatMap(({ token }, index) => {
      let liked = false;
      const read = () => api.friendList(token);
      const write = () => {
        liked = !liked;
        return api.favorite(token, videoId, liked ? 1 : 2);
      };
      const reading = repeat(read, load.failedReads);
      return options.writes ? [reading, repeat(write, load.failedWrites[index])] : [reading];
    }),
  );
  return load;
}

test("an origin that is killed under load fails no read, and of each client at most the write that was on its way", async () => {
  const [first] = await Promise.all([startOrigin(), startOrigin()]);
  const load = startLoad();
  await load.goOn(30);
  first?.program.kill();
  await first?.program.exited;
  await load.goOn(60);
  await load.stop();
  expect(load.failedReads).toEqual([]);
  for (const failures of load.failedWrites) expect(failures.length).toBeLessThanOrEqual(1);
  await until("its lease has ended", async () => !(await redis.hexists(instancesKey, first?.url ?? "")));
});

test("an origin that is stopped under load fails nothing at all", async () => {
  const [first] = await Promise.all([startOrigin(), startOrigin()]);
  const load = startLoad();
  await load.goOn(30);
  const stopped = first?.program.stop();
  await load.goOn(30);
  await stopped;
  expect(await first?.program.exited).toMatchObject({ how: "exit code 0" });
  await load.goOn(30);
  await load.stop();
  expect(load.failedReads).toEqual([]);
  expect(load.failedWrites.flat()).toEqual([]);
});

test("an origin that hangs fails no read, is left out, and is asked again when it goes on", async () => {
  const [first] = await Promise.all([startOrigin(), startOrigin()]);
  // A process that hangs in the middle of a transaction holds its locks: that is the database's to end, and nothing to balance.
  const reads = startLoad({ writes: false });
  await reads.goOn(30);
  process.kill(first?.program.pid ?? 0, "SIGSTOP");
  await reads.goOn(30);
  const writes = startLoad();
  await writes.goOn(30);
  await Promise.all([reads.stop(), writes.stop()]);
  expect([...reads.failedReads, ...writes.failedReads, ...writes.failedWrites.flat()]).toEqual([]);

  process.kill(first?.program.pid ?? 0, "SIGCONT");
  await until("it is announced again", () => redis.hexists(instancesKey, first?.url ?? ""));
  const again = startLoad();
  await again.goOn(30);
  await again.stop();
  expect([...again.failedReads, ...again.failedWrites.flat()]).toEqual([]);
});

test("after all of that the counts are those of the likes", async () => {
  const { video_list: videos } = await flick.api.publishList(people[0]?.token ?? "");
  const liked = await Promise.all(people.map(({ token }) => flick.api.favoriteList(token)));
  const likes = liked.filter(({ video_list: list }) => list.some(({ id }) => id === videoId)).length;
  expect(videos.find(({ id }) => id === videoId)?.favorite_count).toBe(likes);
});
