import { join } from "node:path";

import { ffmpeg, type RunningStack } from "./running-stack.ts";

export interface KillRun {
  /** Videos that have become ready, and those that have not: lost ones. */
  ready: number;
  lost: number;
  /** Places that all of them together have in the feed; more than there are videos means that some were published twice. */
  inFeed: number;
  /** Kills that hit a worker with a job at work. */
  hits: number;
  /** Videos that each worker made ready, by the order in which the workers came. */
  readyBy: number[];
  seconds: number;
}

interface Worker {
  child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  taken: number;
  ended: number;
  ready: number;
}

const withinMs = 300_000;
const authors = 3;

/**
 * Publishes clips of a second through a whole stack and kills one of two workers again and again at random moments, each time
 * starting another in its place; then one more joins, and all is waited for.
 *
 * @param options.random from 0 to 1, for moments and victims.
 */
export async function killRun(
  flick: RunningStack,
  options: { jobs: number; kills: number; random?: () => number },
): Promise<KillRun> {
  const { jobs, kills, random = Math.random } = options;
  const began = performance.now();
  // Its supervisor would give up; asleep it takes no part.
  const ownWorker = flick.pidOf("worker");
  process.kill(ownWorker, "SIGSTOP");
  const workers: Worker[] = [];
  try {
    const videos = await publishClips(flick, jobs);
    const alive = await Promise.all([1, 2].map(() => startWorker(flick, workers)));
    let hits = 0;
    for (let kill = 0; kill < kills; kill++) {
      await Bun.sleep(200 + random() * 1_300);
      const place = Math.floor(random() * alive.length);
      const victim = alive[place];
      if (!victim) continue;
      if (victim.taken > victim.ended) hits++;
      victim.child.kill("SIGKILL");
      await victim.child.exited;
      alive[place] = await startWorker(flick, workers);
    }
    await startWorker(flick, workers);
    const deadline = Date.now() + withinMs;
    let ready = 0;
    while (ready < jobs && Date.now() < deadline) {
      await Bun.sleep(500);
      ready = await countReady(flick, videos);
    }
    const inFeed = await countInFeed(flick, new Set(videos.map(({ id }) => id)));
    const seconds = Math.round((performance.now() - began) / 1000);
    return { ready, lost: jobs - ready, inFeed, hits, readyBy: workers.map((worker) => worker.ready), seconds };
  } finally {
    for (const { child } of workers) child.kill("SIGKILL");
    await Promise.all(workers.map(({ child }) => child.exited));
    process.kill(ownWorker, "SIGCONT");
  }
}

interface Published {
  id: number;
  token: string;
}

async function publishClips(flick: RunningStack, count: number): Promise<Published[]> {
  const path = join(flick.dir, "kill-run.mp4");
  const sources = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=frequency=440"];
  await ffmpeg(...sources, "-t", "1", "-pix_fmt", "yuv420p", "-preset", "ultrafast", path);
  const accounts = await Promise.all(Array.from({ length: authors }, () => flick.signUp()));
  const published: Published[] = [];
  for (let number = 0; number < count; number++) {
    const token = accounts[number % authors]?.token ?? "";
    const { video_id: id } = await flick.api.publish(token, `clip ${number}`, Bun.file(path));
    published.push({ id, token });
  }
  return published;
}

/** Resolves when it takes jobs. */
async function startWorker(flick: RunningStack, workers: Worker[]): Promise<Worker> {
  const { urls, secretsFile } = flick.stack;
  const secrets = (await Bun.file(secretsFile).json()) as Record<string, string>;
  const child = Bun.spawn([process.execPath, "--no-env-file", join(import.meta.dir, "../media-worker/main.ts")], {
    env: {
      PATH: process.env.PATH,
      ORIGIN_URL: urls.origin,
      REDIS_URL: urls.redis,
      ...(urls.kafkaBrokers ? { KAFKA_BROKERS: urls.kafkaBrokers } : {}),
      OSS_URL: urls.oss.replace("127.0.0.1", "localhost"),
      OSS_REGION: "local",
      OSS_BUCKET: "flick",
      OSS_ACCESS_KEY_ID: secrets["ossAccessKeyId"],
      OSS_ACCESS_KEY_SECRET: secrets["ossAccessKeySecret"],
      SERVICE_TOKEN_SECRET: secrets["serviceTokenSecret"],
      WORK_DIR: join(flick.dir, "kill-run-work"),
      CONCURRENCY: "1",
      SWEEP_INTERVAL_MS: "1000",
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const worker: Worker = { child, taken: 0, ended: 0, ready: 0 };
  workers.push(worker);
  const started = Promise.withResolvers<void>();
  void (async () => {
    let rest = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const { message } = JSON.parse(line) as { message: string };
        if (message === "taking jobs") started.resolve();
        if (message === "job taken") worker.taken++;
        if (message === "job ready") worker.ready++;
        if (/^job (ready|failed|lost)/.test(message)) worker.ended++;
      }
    }
    started.reject(new Error("the worker has ended"));
  })();
  started.promise.catch(() => {});
  await started.promise;
  return worker;
}

async function countReady(flick: RunningStack, videos: readonly Published[]): Promise<number> {
  const tokens = [...new Set(videos.map(({ token }) => token))];
  const lists = await Promise.all(tokens.map((token) => flick.api.publishList(token)));
  return lists.flatMap((list) => list.video_list).filter(({ status }) => status === "ready").length;
}

async function countInFeed(flick: RunningStack, ids: ReadonlySet<number>): Promise<number> {
  let found = 0;
  let latestTime: number | undefined;
  for (;;) {
    const page = await flick.api.feed(latestTime === undefined ? {} : { latestTime });
    found += page.video_list.filter(({ id }) => ids.has(id)).length;
    if (!page.has_more) return found;
    latestTime = page.next_time;
  }
}
