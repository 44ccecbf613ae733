/**
 * The covers that the media worker chooses for the demo's clips, on one picture:
 *
 *     bun bench/covers.ts covers.png
 */
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { demoClips, renderClip } from "@flick/dev/demo-clips.ts";
import { makeSheet } from "@flick/media-worker/corpus/sheet.ts";
import { createFfmpeg } from "@flick/media-worker/ffmpeg.ts";
import { defaultLimits } from "@flick/media-worker/limits.ts";
import { makeVideo } from "@flick/media-worker/make-video.ts";

const layout = { columns: 6, width: 120, height: 213 };
const limitMs = 600_000;

const to = resolve(process.argv[2] ?? "covers.png");
const dir = await mkdtemp(join(tmpdir(), "flick-covers-"));
const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });
try {
  const covers: string[] = [];
  for (const [index, clip] of demoClips.entries()) {
    const work = join(dir, `work-${index}`);
    await mkdir(work);
    const path = await renderClip(clip, dir, index);
    await copyFile(path, join(work, "input"));
    const options = { ffmpeg, dir: work, limits: defaultLimits, inputBytes: Bun.file(path).size };
    const made = await makeVideo({ ...options, signal: AbortSignal.timeout(limitMs) }, () => {});
    covers.push(join(work, made.cover.file));
    process.stdout.write(`${clip.title}: the cover shows ${made.coverTimeMs} ms of ${made.durationMs}\n`);
  }
  await makeSheet(covers, to, layout);
  process.stdout.write(`${to}\n`);
} finally {
  await rm(dir, { recursive: true, force: true });
}
