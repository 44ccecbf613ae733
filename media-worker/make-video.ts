import { open, stat } from "node:fs/promises";
import { join } from "node:path";

import { isContinuous } from "./conform.ts";
import { chooseMoment, lookTimes } from "./cover.ts";
import { decodeVideo, runHostile } from "./decode-video.ts";
import type { Ffmpeg, FfmpegOutput } from "./ffmpeg.ts";
import { hostileVideoOptions, inputFile, videoFormats } from "./ffmpeg-run.ts";
import type { Limits } from "./limits.ts";
import { planCover, type CoverFile, type CoverPlan } from "./plan-cover.ts";
import { names, planPackage, soundRung } from "./plan-package.ts";
import * as sound from "./plan-sound.ts";
import { chooseStreams, runTimeLimitMs, type Plan } from "./plan.ts";
import { masterPlaylist } from "./playlist.ts";
import type { Probe } from "./probe.ts";
import { readThumbHash } from "./thumb-hash.ts";
import { blame, checkResult, whyUnreadable } from "./verdict.ts";

export interface MakeOptions {
  ffmpeg: Ffmpeg;
  /** Holds the upload; everything is made here. */
  dir: string;
  limits: Limits;
  inputBytes: number;
  signal: AbortSignal;
}

/** What there is in the folder now. Names are relative to it. */
export interface MadeFiles {
  durationMs: number;
  /** Narrowest first. */
  renditions: MadeFile[];
  /** The rendition for players that know one URL. */
  play: MadeFile;
  master: string;
  covers: CoverFile[];
  /** The cover for clients that know one URL. */
  cover: CoverFile;
  preview: string;
  thumbhash: string;
  coverTimeMs: number;
  /** Streams that were taken over as they came. */
  copied: string[];
  /** Everything that is to be stored: what others name comes first. */
  all: string[];
}

interface MadeFile {
  file: string;
  width: number;
  height: number;
  bytes: number;
}

/** Wide enough for a phone, and light enough for most networks. */
const playWidth = 720;
/** Share of the work that lies in the run that decodes. */
const decodingShare = 0.85;
/** The limiter and the encoder are asked so often for the level that is wanted. */
const maxSoundTries = 3;
/** The preview begins so long before a moment that nobody has chosen. */
const previewLeadMs = 1000;
const headBytes = 4096;
const loudnessTailBytes = 4096;

/**
 * Makes the renditions, the streams, the cover and the preview of a video: one run decodes the upload and writes the pictures; short
 * ones over what that made level the sound, copy all of it into containers and cut the cover.
 *
 * @param onShare told how much is done, 0 to 1.
 * @throws {BadUpload} when the file is at fault.
 */
export async function makeVideo(options: MakeOptions, onShare: (share: number) => void): Promise<MadeFiles> {
  const { ffmpeg, dir, limits, signal } = options;
  const source = await probeInput(options);
  const chosen = chooseStreams(source, limits);
  const expectedMs = (source.duration ?? limits.maxDurationS) * 1000;
  const follow = (doneMs: number) => onShare(Math.min(1, doneMs / expectedMs) * decodingShare);
  const { plan, output, packets } = await decodeVideo(options, source, chosen, follow);
  onShare(decodingShare);

  const timeLimitMs = runTimeLimitMs(source.duration, limits);
  const continuous = plan.sound !== null && !plan.soundChanges && isContinuous(plan.sound, source, packets);
  const coverTimeMs = await chooseCover(dir, plan, output);
  const play = plan.rungs.findLast(({ width }) => width <= playWidth) ?? plan.rungs[0];
  const [narrowest] = plan.rungs;
  if (!play || !narrowest) throw new Error("there is no rendition");
  const pictured = { ...play, previewFile: narrowest.file };
  const moment = {
    timeMs: coverTimeMs,
    previewMs: coverTimeMs - previewLeadMs,
    durationMs: lastPictureMs(output, expectedMs),
    frameRate: chosen.video.frameRate,
  };
  const coverPlan = planCover(pictured, moment, limits);
  const [{ soundCopied, probed }] = await bothEnded(
    makeFiles(options, plan, continuous, timeLimitMs),
    ffmpeg.run(dir, coverPlan.run, signal),
  );
  onShare(0.98);
  const withSound = plan.sound !== null;
  const durationMs = checkResult(source, probed, { withSound, stderr: output.stderr, limits });
  await writeMaster(dir, probed, withSound);
  onShare(1);
  const copied = [...(plan.rungs.at(-1)?.copied ? ["picture"] : []), ...(soundCopied ? ["sound"] : [])];
  return { ...(await gather(dir, plan, coverPlan)), durationMs, coverTimeMs, copied };
}

async function probeInput({ ffmpeg, dir, limits, signal }: MakeOptions): Promise<Probe> {
  try {
    return await ffmpeg.probe(dir, inputFile, { maxPixels: limits.maxPixels, formats: videoFormats, signal });
  } catch (error) {
    throw blame(error, (failure) => whyUnreadable(failure, limits));
  }
}

/** Sound, then pictures and sound in every container, then what those turn out to be. */
async function makeFiles(options: MakeOptions, plan: Plan, continuous: boolean, timeLimitMs: number) {
  const { ffmpeg, dir, limits, signal } = options;
  const soundCopied = await makeSound(options, plan, continuous, timeLimitMs);
  await ffmpeg.run(dir, planPackage(plan, limits, timeLimitMs), signal);
  const asked = { maxPixels: limits.maxPixels, formats: videoFormats, signal };
  const probed = await Promise.all(
    plan.rungs.map(async (rung) => ({ rung, probe: await ffmpeg.probe(dir, names.progressive(rung.name), asked) })),
  );
  return { soundCopied, probed };
}

/** As Promise.all, but when one fails it waits for the other: nothing may run on in a folder that is about to be removed. */
async function bothEnded<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other]);
  return Promise.all([one, other]);
}

/** Levels the sound, or takes it over; tells whether it was taken over. */
async function makeSound(
  options: MakeOptions,
  { sound: stream }: Plan,
  continuous: boolean,
  timeLimitMs: number,
): Promise<boolean> {
  const { ffmpeg, dir, limits, signal } = options;
  if (!stream) return false;
  const measured = await readLoudness(dir, sound.loudnessFiles.before);
  if (sound.soundConforms(stream, measured, continuous)) {
    await runHostile(options, sound.copySound(stream, hostileVideoOptions(limits.maxPixels), limits, timeLimitMs));
    return true;
  }
  let leveling: sound.Leveling | null = sound.planLeveling(measured);
  for (let tries = 0; leveling && tries < maxSoundTries; tries++) {
    await ffmpeg.run(dir, sound.planSound(stream, leveling, limits, timeLimitMs), signal);
    await ffmpeg.run(dir, sound.measureSound(limits, timeLimitMs), signal);
    leveling = sound.correctLeveling(leveling, await readLoudness(dir, sound.loudnessFiles.after));
  }
  return false;
}

async function readLoudness(dir: string, file: string): Promise<sound.Loudness> {
  const handle = Bun.file(join(dir, file));
  if (!(await handle.exists())) return { lufs: null, peak: null };
  return sound.parseLoudness(await handle.slice(Math.max(0, handle.size - loudnessTailBytes)).text());
}

async function chooseCover(dir: string, { looks }: Plan, { stdout }: FfmpegOutput): Promise<number> {
  const pixels = await Bun.file(join(dir, looks.file)).bytes();
  return chooseMoment(pixels, lookTimes(stdout), looks);
}

/** The last moment that was looked at, or the end that the file tells. */
function lastPictureMs({ stdout }: FfmpegOutput, expectedMs: number): number {
  return Math.max(...lookTimes(stdout), 0) || expectedMs;
}

async function writeMaster(
  dir: string,
  probed: readonly { rung: Plan["rungs"][number]; probe: Probe }[],
  withSound: boolean,
): Promise<void> {
  const rungs = await Promise.all(
    probed.map(async ({ rung: { name, width, height }, probe }) => ({
      name,
      width,
      height,
      frameRate: probe.streams.find(({ type }) => type === "video")?.frameRate ?? 0,
      playlist: await Bun.file(join(dir, names.streamPlaylist(name))).text(),
      head: await readHead(join(dir, names.stream(name))),
    })),
  );
  const soundPlaylist = withSound ? await Bun.file(join(dir, names.streamPlaylist(soundRung))).text() : null;
  await Bun.write(join(dir, names.master), masterPlaylist(rungs, soundPlaylist));
}

async function readHead(path: string): Promise<Uint8Array> {
  const handle = await open(path);
  try {
    const { buffer, bytesRead } = await handle.read(new Uint8Array(headBytes), 0, headBytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function gather(dir: string, { rungs, sound: stream }: Plan, { covers, preview, thumb }: CoverPlan) {
  const renditions = await Promise.all(
    rungs.map(async ({ name, width, height }): Promise<MadeFile> => {
      const file = names.progressive(name);
      return { file, width, height, bytes: (await stat(join(dir, file))).size };
    }),
  );
  const play = renditions.findLast(({ width }) => width <= playWidth) ?? renditions[0];
  const cover = covers.findLast(({ type }) => type === "image/jpeg");
  if (!play || !cover) throw new Error("there is no rendition or no cover");
  const streams = [...rungs.map(({ name }) => name), ...(stream ? [soundRung] : [])];
  return {
    renditions,
    play,
    master: names.master,
    covers,
    cover,
    preview,
    thumbhash: await readThumbHash(dir, thumb),
    all: [
      ...renditions.map(({ file }) => file),
      ...streams.flatMap((name) => [names.stream(name), names.streamPlaylist(name)]),
      names.master,
      ...covers.map(({ file }) => file),
      preview,
    ],
  };
}
