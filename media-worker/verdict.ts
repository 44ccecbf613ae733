import { BadUpload } from "./bad-upload.ts";
import { FfmpegFailure, type FfmpegOutput } from "./ffmpeg.ts";
import type { FfmpegRun } from "./ffmpeg-run.ts";
import type { Rung } from "./ladder.ts";
import { durationGraceS, tooLong, tooManyPixels, tooManyStreams, type Limits } from "./limits.ts";
import { lookTimes } from "./cover.ts";
import type { Probe } from "./probe.ts";

const cut = "The file is incomplete: a part of the video is missing. Please upload it again.";
const notAVideo = "This file is not a video that we can read. MP4, MOV, MKV and WebM are fine.";
const noPicture = "There is no picture in this video that can be decoded.";
const damaged = "The video is damaged: it cannot be decoded.";
const tooMuchMemory = "The video needs more memory to decode than we can give it.";

/** How FFmpeg ends on input that it cannot cope with, beside its exit code: by a crash, or by the limit on its files. */
export const crashes = /SIGSEGV|SIGBUS|SIGABRT|SIGFPE|SIGILL|SIGXFSZ|SIGSYS/;

/**
 * What this machine lacks, so that FFmpeg ends as it does on a bad file: disk, or processes and threads (without which it cannot open an
 * encoder, whose settings are all ours, either).
 */
const lacks = /No space left on device|Resource temporarily unavailable|Cannot fork|Error while opening encoder/;
const lacksMemory = /Cannot allocate memory/;

/** Did a program end for want of something that may be there the next time? */
export function lacksSomething({ stderr }: FfmpegOutput): boolean {
  return lacks.test(stderr) && !lacksMemory.test(stderr);
}

/**
 * What to throw when FFmpeg's programs failed on a file.
 *
 * @param why what is wrong with the file; null when that was not its fault.
 */
export function blame(error: unknown, why: (failure: FfmpegFailure) => BadUpload | null): unknown {
  const bad = error instanceof FfmpegFailure ? why(error) : null;
  if (bad) bad.cause = error;
  return bad ?? error;
}

/** What is wrong with a file that ffprobe would not read; null when that was not the file's fault. */
export function whyUnreadable(failure: FfmpegFailure, limits: Limits): BadUpload | null {
  const { kind, message, output } = failure;
  if (kind === "signal" && crashes.test(message)) return new BadUpload(notAVideo);
  if (kind !== "exit" || lacksSomething(output)) return null;
  if (/max pixel count/.test(output.stderr)) return tooManyPixels(limits);
  if (/exceeds max_streams/.test(output.stderr)) return tooManyStreams(limits);
  if (/moov atom not found|ended prematurely/.test(output.stderr)) return new BadUpload(cut);
  return new BadUpload(notAVideo);
}

/** What is wrong with a file that could be read but not transcoded; null when that was not the file's fault. */
export function whyUndecodable(failure: FfmpegFailure, run: FfmpegRun, limits: Limits): BadUpload | null {
  const { kind, message, output } = failure;
  if (kind === "signal" && /SIGXFSZ/.test(message)) return tooLarge(run);
  if (kind === "signal" && crashes.test(message)) return new BadUpload(damaged);
  if (kind !== "exit" || lacksSomething(output)) return null;
  if (/File too large/.test(output.stderr)) return tooLarge(run);
  if (/max pixel count/.test(output.stderr)) return tooManyPixels(limits);
  if (lacksMemory.test(output.stderr)) return new BadUpload(tooMuchMemory);
  return new BadUpload(lookTimes(output.stdout).length === 0 ? noPicture : damaged);
}

function tooLarge({ maxOutputBytes }: FfmpegRun): BadUpload {
  return new BadUpload(`What this video becomes is larger than the ${maxOutputBytes} bytes that are allowed.`);
}

/** A rendition, as it was planned and as ffprobe finds it. */
export interface MadeRendition {
  rung: Pick<Rung, "name" | "width" | "height">;
  probe: Probe;
}

/**
 * Looks at what the runs made before anybody sees it.
 *
 * @param stderr what FFmpeg complained about while it read the file.
 * @returns the duration in milliseconds.
 * @throws {BadUpload} when the file was cut or is longer than it said; {Error} when the result is not what was planned.
 */
export function checkResult(
  source: Probe,
  made: readonly MadeRendition[],
  { withSound, stderr, limits }: { withSound: boolean; stderr: string; limits: Limits },
): number {
  const durations = made.map(({ rung, probe: result }) => {
    const video = result.streams.find((stream) => stream.type === "video");
    const audio = result.streams.find((stream) => stream.type === "audio");
    if (!video?.duration || result.duration === null) throw new BadUpload(noPicture);
    if (result.duration > limits.maxDurationS + durationGraceS) throw tooLong(limits);
    if (isCut(source, result) && stderr.trim() !== "") throw new BadUpload(cut);
    if (video.codec !== "h264" || video.pixelFormat !== "yuv420p")
      throw new Error("the result is not H.264 in yuv420p");
    if (video.width !== rung.width || video.height !== rung.height) throw new Error("the result has another size");
    if (audio ? audio.codec !== "aac" : withSound) throw new Error("the sound of the result is missing or not AAC");
    return result.duration;
  });
  return Math.round(Math.max(...durations) * 1000);
}

/**
 * Is the result shorter than the file says it is, as a whole or in its picture? A quarter of a second, or a hundredth of the
 * duration, is no loss: the last picture is shown for a time that the result need not keep. Even so it only counts as cut when
 * FFmpeg complained too, because a slide show may show its last picture for long.
 */
function isCut(source: Probe, result: Probe): boolean {
  return isShort(source.duration, result.duration) || isShort(pictureDuration(source), pictureDuration(result));
}

function isShort(said: number | null, is: number | null): boolean {
  return said !== null && (is ?? 0) < said - Math.max(0.25, said / 100);
}

function pictureDuration({ streams }: Probe): number | null {
  return streams.find((stream) => stream.type === "video" && !stream.isPicture)?.duration ?? null;
}
