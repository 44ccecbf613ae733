/**
 * How long an upload takes until it is acknowledged, against a bare streaming PUT of the same file to the same store in the same
 * round, on a stack of its own:
 *
 *     bun bench/upload.ts [MiB] [rounds]
 *
 * `streamed`: the multipart form through the gateway, by the same client: it reads the file as it sends it, tells the length first, and has a
 * boundary such as browsers make. `in parts`: from the call that begins it to the answer of the one that completes it, four parts at a
 * time. `hashed`: the same with the SHA-256 that the client makes first.
 *
 * All of it shares the machine: two busy cores tell how much work each way is, not how long it takes. With TMPDIR=/dev/shm the disk is out
 * of it.
 */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

import { uploadFile } from "@flick/dev/upload-file.ts";
import { memoryOf } from "@flick/e2e/large-upload.ts";
import { runStack } from "@flick/e2e/running-stack.ts";

const [mebibytes = 256, rounds = 7] = process.argv.slice(2).map(Number);
const boundary = "----WebKitFormBoundaryx7Ab3kQpL9zTq2Wv";
const ways = ["bare", "in parts", "hashed", "streamed"] as const;
const taken: Record<(typeof ways)[number], number[]> = { bare: [], "in parts": [], hashed: [], streamed: [] };

const flick = await runStack();
try {
  // What is uploaded is no video: nobody shall work on it meanwhile.
  const worker = flick.pidOf("worker");
  process.kill(worker, "SIGSTOP");
  const { token } = await flick.signUp();
  const watched = { gateway: flick.pidOf("gateway"), origin: flick.pidOf("origin") };
  await round(token, 0);
  for (const way of ways) taken[way] = [];
  const before = await memoryOfAll(watched);
  const peak = { ...before };
  const watching = setInterval(() => void watch(watched, peak), 100);
  for (let number = 1; number <= rounds; number++) await round(token, number);
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
  const grown = (name: "gateway" | "origin") => `${name} ${Math.round(peak[name] - before[name])} MiB`;
  process.stdout.write(`grown at their peak: ${grown("gateway")}, ${grown("origin")}\n`);
  process.kill(worker, "SIGCONT");
} finally {
  await flick.stop();
}

async function round(token: string, number: number): Promise<void> {
  const path = join(flick.dir, "upload.mp4");
  await makeFile(path, number);
  const began = performance.now();
  await flick.objects.put(`bench/${number}`, path, { contentType: "video/mp4" });
  taken.bare.push(performance.now() - began);

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

  const streaming = performance.now();
  await publishStreaming(token, path);
  taken.streamed.push(performance.now() - streaming);
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

async function watch(pids: { gateway: number; origin: number }, peak: { gateway: number; origin: number }) {
  const now = await memoryOfAll(pids);
  for (const name of ["gateway", "origin"] as const) peak[name] = Math.max(peak[name], now[name]);
}

async function memoryOfAll(pids: { gateway: number; origin: number }) {
  const [gateway, origin] = await Promise.all([memoryOf(pids.gateway), memoryOf(pids.origin)]);
  return { gateway, origin };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
