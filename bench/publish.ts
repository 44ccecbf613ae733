/**
 * How long it takes from the answer that an upload is accepted until the video can be played, on a stack of its own:
 *
 *     bun bench/publish.ts [rounds]
 *
 * A clip of 15 seconds at 720×1280 as a phone films it (`phone-clip.ts`) is published again and again, each time by another author, so that
 * nothing is taken over from the round before. The machine should have two idle cores; what else runs on it is in the figure.
 */
import { loadavg } from "node:os";

import { openEventStream, type EventStream } from "@flick/dev/event-stream.ts";
import { atFullSpeed, runStack } from "@flick/e2e/running-stack.ts";

import { makePhoneClip } from "./phone-clip.ts";

const rounds = Math.max(1, Number(process.argv[2]) || 5);
const bound = 8;
const settledWithinMs = 600_000;

const flick = await runStack({ gateway: atFullSpeed });
try {
  const clip = await makePhoneClip(flick.dir, { width: 720, height: 1280, seconds: 15, bitrate: 10_000_000 });
  const taken: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const seconds = await publishOnce(clip);
    taken.push(seconds);
    process.stdout.write(`round ${round}: ${seconds.toFixed(2)} s, load ${loadavg()[0]?.toFixed(1)}\n`);
  }
  const median = taken.toSorted((a, b) => a - b)[Math.floor(taken.length / 2)] ?? 0;
  const best = Math.min(...taken);
  process.stdout.write(
    `accepted to playable: median ${median.toFixed(2)} s, best ${best.toFixed(2)} s; the bound is ${bound} s\n`,
  );
} finally {
  await flick.stop();
}

/** Seconds from the acknowledgement until its author hears that it is ready, and has the first bytes of it from its URL. */
async function publishOnce(clip: string): Promise<number> {
  const { token } = await flick.signUp();
  const stream = await openEventStream(`${flick.url}/douyin/publish/events?token=${token}`);
  const { video_id: id } = await flick.api.publish(token, "a clip", Bun.file(clip));
  const accepted = performance.now();
  await untilReady(stream, accepted + settledWithinMs);
  const { video_list: list } = await flick.api.publishList(token);
  const response = await fetch(list.find((each) => each.id === id)?.play_url ?? "", {
    headers: { range: "bytes=0-65535" },
  });
  if (response.status !== 206) throw new Error(`the video is answered with ${response.status}`);
  await response.arrayBuffer();
  const seconds = (performance.now() - accepted) / 1000;
  await stream.close();
  return seconds;
}

/** To ask again and again would cost the cores a good part of what is measured. */
async function untilReady({ events }: EventStream, deadline: number): Promise<void> {
  for (let read = 0; performance.now() < deadline; await Bun.sleep(10)) {
    for (; read < events.length; read++) {
      const told = JSON.parse(events[read]?.data ?? "") as { status: string; reason?: string };
      if (told.status === "failed") throw new Error(`the video failed: ${told.reason}`);
      if (told.status === "ready") return;
    }
  }
  throw new Error(`the video was not ready within ${settledWithinMs} ms`);
}
