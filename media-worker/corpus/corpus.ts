import { createFfmpeg } from "../ffmpeg.ts";
import { bad, doubled } from "./bad.ts";
import { changing } from "./changing.ts";
import type { Entry } from "./entry.ts";
import { titled } from "./exif.ts";
import { good } from "./good.ts";
import { runEntry, type CorpusOptions, type EntryResult } from "./run.ts";

/** Every file of the corpus. */
export const corpus: readonly Entry[] = [...good, ...changing, titled, ...doubled, ...bad];

/** A server that nobody may ask anything, and what it was asked all the same. */
export function startBait(): { url: string; requests: string[]; stop(): Promise<void> } {
  const requests: string[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      requests.push(request.url);
      return new Response("nothing\n", { status: 404 });
    },
  });
  return { url: server.url.href.replace(/\/$/, ""), requests, stop: () => server.stop(true) };
}

/** Runs entries, so many at a time, and tells of each as it is done. */
export async function runCorpus(
  entries: readonly Entry[],
  options: Omit<CorpusOptions, "ffmpeg"> & { lanes: number },
  onResult: (result: EntryResult) => void,
): Promise<void> {
  const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });
  const queue = entries.values();
  const lane = async () => {
    for (const entry of queue) onResult(await runEntry(entry, { ...options, ffmpeg }));
  };
  await Promise.all(Array.from({ length: options.lanes }, lane));
}
