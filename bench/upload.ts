/**
 * How long an upload takes until it is acknowledged, against a bare streaming PUT of the same file to the same store in the same
 * round, on a stack of its own:
 *
 *     bun bench/upload.ts [MiB] [rounds]
 *
 * `streamed`: the multipart form through the gateway, by the same client: it reads the file as it sends it, tells the length first, and has a
 * boundary such as browsers make. `in parts`: from the call that begins it to the answer of the one that completes it, four parts at a
 * time. `hashed`: the same with the SHA-256 that the client makes first. Prints how much processor time and memory each program took, too.
 *
 * All of it shares the machine: two busy cores tell how much work each way is, not how long it takes. With TMPDIR=/dev/shm the disk is out
 * of it.
 */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

import { uploadFile } from "@flick/dev/upload-file.ts";
import { atFullSpeed, runStack } from "@flick/e2e/running-stack.ts";

import { watchProgram, type Watched } from "./processes.ts";

const [mebibytes = 256, rounds = 7] = process.argv.slice(2).map(Number);
const boundary = "----WebKitFormBoundaryx7Ab3kQpL9zTq2Wv";
const ways = ["bare", "in parts", "hashed", "streamed"] as const;
const taken: Record<(typeof ways)[number], number[]> = { bare: [], "in parts": [], hashed: [], streamed: [] };
/** Milliseconds of processor time, by program. */
const worked = { bare: new Map<string, number[]>(), streamed: new Map<string, number[]>() };

/** This process, without the stack that it starts. */
const self: Watched = {
  memory: () => Promise.resolve(process.memoryUsage.rss() / 2 ** 20),
  cpuMs() {
    const { user, system } = process.cpuUsage();
    return Promise.resolve((user + system) / 1000);
  },
};

const flick = await runStack({ gateway: atFullSpeed });
try {
  // What is uploaded is no video: nobody shall work on it meanwhile.
  const worker = flick.pidOf("worker");
  process.kill(worker, "SIGSTOP");
  const { token } = await flick.signUp();
  const programs = {
    client: self,
    gateway: await watchProgram(flick.pidOf("gateway")),
    origin: await watchProgram(flick.pidOf("origin")),
    store: await watchProgram(flick.pidOf("oss")),
  };
  await round(token, 0, programs);
  for (const way of ways) taken[way] = [];
  for (const times of Object.values(worked)) times.clear();
  const memories = Object.entries(programs).map(([name, program]) => ({ name, program, before: 0, peak: 0 }));
  for (const each of memories) each.before = await each.program.memory();
  const watching = setInterval(() => {
    for (const each of memories) void each.program.memory().then((now) => (each.peak = Math.max(each.peak, now)));
  }, 100);
  for (let number = 1; number <= rounds; number++) await round(token, number, programs);
  clearInterval(watching);
  const bare = median(taken.bare);
  process.stdout.write(`${mebibytes} MiB, median of ${rounds} rounds\n`);
  for (const way of ways) {
    const ms = median(taken[way]);
    const ratio = (ms / bare).toFixed(2);
    process.stdout.write(
      `${way.padEnd(9)} ${Math.round(ms)} ms, ${ratio} times the bare PUT, ${Math.round((mebibytes / ms) * 1000)} MiB/s\n`,
    );
  }
  for (const [way, times] of Object.entries(worked)) {
    const each = [...times].map(([name, ms]) => `${name} ${Math.round(median(ms))}`);
    process.stdout.write(`${way}, ms of processor time: ${each.join(", ")}\n`);
  }
  const grown = memories.map(({ name, before, peak }) => `${name} ${Math.round(peak - before)} MiB`);
  process.stdout.write(`grown at their peak: ${grown.join(", ")}\n`);
  process.kill(worker, "SIGCONT");
} finally {
  await flick.stop();
}

/** Each way once, every round beginning with another: the first one finds the caches cold. */
async function round(token: string, number: number, programs: Record<string, Watched>): Promise<void> {
  const path = join(flick.dir, "upload.mp4");
  await makeFile(path, number);
  const runs = [
    () => timed("bare", programs, () => flick.objects.put(`bench/${number}`, path, { contentType: "video/mp4" })),
    () => uploadInParts(token, path),
    () => timed("streamed", programs, () => publishStreaming(token, path)),
  ];
  for (let turn = 0; turn < runs.length; turn++) await runs[(number + turn) % runs.length]?.();
  // They are as much memory, where the store's files are in memory.
  for (const folder of ["bench/", "raw/"]) {
    for (const { key } of await flick.objects.list(folder)) await flick.objects.delete(key);
  }
}

async function timed(way: "bare" | "streamed", programs: Record<string, Watched>, run: () => Promise<void>) {
  const before = await cpuOf(programs);
  const began = performance.now();
  await run();
  taken[way].push(performance.now() - began);
  note(worked[way], before, await cpuOf(programs));
}

async function uploadInParts(token: string, path: string): Promise<void> {
  const hashing = performance.now();
  let sending = 0;
  await uploadFile(flick.api, token, path, {
    title: "in parts",
    onProgress({ doing }) {
      if (doing === "hashing") sending = performance.now();
    },
  });
  taken["in parts"].push(performance.now() - sending);
  taken.hashed.push(performance.now() - hashing);
}

/** A `FormData` would be put together in memory first. */
async function publishStreaming(token: string, path: string): Promise<void> {
  const head = Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n`);
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  async function* form(): AsyncGenerator<Uint8Array> {
    yield head;
    for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) yield chunk as Buffer;
    yield tail;
  }
  const response = await fetch(`${flick.url}/douyin/publish/action/?title=streamed`, {
    method: "POST",
    body: form(),
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": `multipart/form-data; boundary=${boundary}`,
      "content-length": String(head.length + Bun.file(path).size + tail.length),
    },
    keepalive: false,
  });
  const answer = (await response.json()) as { status_code: number; status_msg: string };
  if (answer.status_code !== 0) throw new Error(`the upload was refused: ${answer.status_msg}`);
}

/** Bytes of every round's own, that begin like an MP4. */
async function makeFile(path: string, number: number): Promise<void> {
  const file = await open(path, "w");
  const chunk = Buffer.alloc(2 ** 20, `round ${number} `);
  for (let at = 0; at < mebibytes; at++) {
    chunk.writeUInt32BE(at, 100);
    await file.write(chunk);
  }
  await file.write(Buffer.from("\0\0\0\x20ftypisom", "latin1"), 0, 12, 0);
  await file.close();
}

async function cpuOf(programs: Record<string, Watched>): Promise<Map<string, number>> {
  const times = Object.entries(programs).map(async ([name, program]) => [name, await program.cpuMs()] as const);
  return new Map(await Promise.all(times));
}

function note(times: Map<string, number[]>, before: Map<string, number>, after: Map<string, number>): void {
  for (const [name, ms] of after) times.set(name, [...(times.get(name) ?? []), ms - (before.get(name) ?? 0)]);
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
