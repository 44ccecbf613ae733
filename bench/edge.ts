/**
 * How much the edge answers, and at what price:
 *
 *     bun bench/edge.ts [seconds] [rounds]
 *
 * The gateway as `wrangler deploy` uploads it and a bare Hono Worker that answers with the same bytes run in one workerd, in front of a stack
 * of its own, and are asked by 128 connections in turns of `seconds` (default 3), `rounds` times (default 3). Printed are the medians, and
 * beside each its ratio to the bare Worker. Then one connection asks for the same page of an author's list in turns at the gateway, at the
 * origin itself by gRPC-web, and by the same through a bare Worker. Ends with failure when a ratio is below its bound.
 */
import { join } from "node:path";

import { create, toBinary } from "@bufbuild/protobuf";
import { connectDatabase } from "@flick/db/client.ts";
import { users } from "@flick/db/schema/user.ts";
import { videos } from "@flick/db/schema/video.ts";
import { atFullSpeed, runStack } from "@flick/e2e/running-stack.ts";
import { ListPublishedRequestSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { measureHttp, type HttpLoad } from "./http-load.ts";
import type { Measured } from "./load.ts";
import { buildGateway, bundleWorker, startWorkerd, type Workerd } from "./workerd.ts";

const bounds = { anonymous: 0.7, signedIn: 0.35, addedMs: 1, gzippedBytes: 300 * 1024 };
const connections = 128;
const authorCount = 200;
const videoCount = 300;
const listLength = 5;

const seconds = Number(process.argv[2] ?? 3);
const rounds = Number(process.argv[3] ?? 3);
const flick = await runStack({ gateway: atFullSpeed });
const failures: string[] = [];
try {
  await fill();
  const { token } = await flick.signUp();
  const { code, bytes, gzipped } = await buildGateway();
  print(`the Worker has ${kib(bytes)} KiB, ${kib(gzipped)} gzipped`);
  if (gzipped >= bounds.gzippedBytes) failures.push(`the Worker has more than ${kib(bounds.gzippedBytes)} KiB gzipped`);
  const page = new Uint8Array(await (await fetch(`${flick.url}/douyin/feed/`)).arrayBuffer());
  print(`a page of the feed has ${kib(page.byteLength)} KiB\n`);
  const { upstashToken } = (await Bun.file(flick.stack.secretsFile).json()) as { upstashToken: string };
  const workerd = await startWorkerd([
    {
      name: "bare",
      code: await bundleWorker(join(import.meta.dir, "edge-bare-worker.ts")),
      data: { PAGE: page },
      text: { ORIGIN_URL: flick.stack.urls.origin },
    },
    {
      name: "gateway",
      code,
      text: {
        ORIGIN_URL: flick.stack.urls.origin,
        UPSTASH_REDIS_REST_URL: flick.stack.urls.upstash,
        UPSTASH_REDIS_REST_TOKEN: upstashToken,
        MAX_UPLOAD_BYTES: "1000000",
        IP_LIMIT_FACTOR: "100000",
      },
    },
  ]);
  try {
    await compareFeeds(workerd, token);
    await compareCalls(workerd, token);
  } finally {
    await workerd.stop();
  }
} finally {
  await flick.stop();
}
for (const failure of failures) print(`NOT GOOD ENOUGH: ${failure}`);
process.exit(failures.length > 0 ? 1 : 0);

async function compareFeeds(workerd: Workerd, token: string): Promise<void> {
  const gateway = `${workerd.urls["gateway"]}/douyin/feed/`;
  const loads = {
    bare: { url: `${workerd.urls["bare"]}/douyin/feed/` },
    anonymous: { url: gateway },
    signedIn: { url: gateway, headers: { authorization: `Bearer ${token}` } },
  };
  const names = Object.keys(loads) as (keyof typeof loads)[];
  const runs = { bare: [], anonymous: [], signedIn: [] } as Record<
    keyof typeof loads,
    (Measured & { cpuUs: number })[]
  >;
  // All that is compiled and cached is so before.
  for (const name of names) await measureHttp({ ...loads[name], connections, seconds: 1 });
  for (let round = 0; round < rounds; round++)
    for (const name of names) runs[name].push(await measureWithCpu(workerd, { ...loads[name], connections, seconds }));
  const baseline = median(runs.bare.map(({ rate }) => rate));
  for (const name of names) {
    const of = (field: keyof Measured | "cpuUs") => median(runs[name].map((run) => run[field]));
    const ratio = of("rate") / baseline;
    const times = `p50 ${of("p50").toFixed(1)} ms  p99 ${of("p99").toFixed(1)} ms`;
    print(
      `feed, ${name.padEnd(10)} ${of("rate").toFixed(0).padStart(6)}/s  ${times}  ${of("cpuUs").toFixed(0)} µs of CPU in workerd  ${ratio.toFixed(2)} of bare`,
    );
    if (name !== "bare" && ratio < bounds[name])
      failures.push(`feed, ${name}: ${ratio.toFixed(2)} of bare, not ${bounds[name]}`);
  }
}

async function measureWithCpu(workerd: Workerd, load: HttpLoad): Promise<Measured & { cpuUs: number }> {
  const [began, before] = [performance.now(), await workerd.cpuSeconds()];
  const measured = await measureHttp(load);
  const [tookS, usedS] = [(performance.now() - began) / 1000, (await workerd.cpuSeconds()) - before];
  return { ...measured, cpuUs: (usedS / tookS / measured.rate) * 1e6 };
}

/** The same call, at the gateway and at the origin. */
async function compareCalls(workerd: Workerd, token: string): Promise<void> {
  const headers = { authorization: `Bearer ${token}` };
  const message = toBinary(
    ListPublishedRequestSchema,
    create(ListPublishedRequestSchema, { userId: 1n, count: listLength }),
  );
  const frame = new Uint8Array(5 + message.byteLength);
  new DataView(frame.buffer).setUint32(1, message.byteLength);
  frame.set(message, 5);
  const path = "/flick.video.v1.VideoService/ListPublished";
  const rpc = {
    method: "POST",
    headers: { ...headers, "content-type": "application/grpc-web+proto", "x-grpc-web": "1" },
    body: frame,
  } as const;
  const loads = {
    origin: { url: flick.stack.urls.origin + path, ...rpc },
    bare: { url: workerd.urls["bare"] + path, ...rpc },
    gateway: { url: `${workerd.urls["gateway"]}/douyin/publish/list/?user_id=1&count=${listLength}`, headers },
  };
  const names = ["origin", "bare", "gateway"] as const;
  const runs: Record<keyof typeof loads, Measured[]> = { origin: [], bare: [], gateway: [] };
  for (let round = 0; round < 2 * rounds; round++)
    for (const name of names)
      runs[name].push(await measureHttp({ ...loads[name], connections: 1, seconds: seconds / 2 }));
  const [direct, relayed, through] = names.map((name) => median(runs[name].map(({ p50 }) => p50))) as [
    number,
    number,
    number,
  ];
  print(
    `a list, one at a time: p50 ${direct.toFixed(2)} ms at the origin, ${relayed.toFixed(2)} through a bare Worker, ${through.toFixed(2)} through the gateway: ${(through - direct).toFixed(2)} ms added`,
  );
  if (through - direct > bounds.addedMs) failures.push(`the gateway adds more than ${bounds.addedMs} ms to a call`);
}

async function fill(): Promise<void> {
  const { db, close } = connectDatabase({ url: flick.stack.urls.mysql });
  const account = (id: number) => ({
    id,
    name: `user ${id}`,
    nameKey: `user ${id}`,
    passwordHash: "none",
    signature: "One clip a day.",
    createdAt: 1,
  });
  const ids = Array.from({ length: authorCount }, (_, index) => index + 1);
  await db.insert(users).values(ids.map(account));
  const now = Date.now() - 60_000;
  await db.insert(videos).values(
    Array.from({ length: videoCount }, (_, index) => {
      const id = 10_000 + index;
      const keys = { rawKey: `raw/${id}`, playKey: `videos/${id}/play.mp4`, coverKey: `videos/${id}/cover.jpg` };
      const shown = { title: `a day at the sea, part ${index}`, width: 720, height: 1280, durationMs: 15_000 };
      const times = { createdAt: now - index, feedTime: now - index, jobDueAt: 1 };
      return { id, authorId: (index % authorCount) + 1, status: "ready" as const, ...shown, ...keys, ...times };
    }),
  );
  await close();
}

function median(values: number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function kib(bytes: number): string {
  return (bytes / 1024).toFixed(0);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
