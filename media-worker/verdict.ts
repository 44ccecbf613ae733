import { BadUpload } from "./bad-upload.ts";
import { FfmpegFailure, type FfmpegOutput } from "./ffmpeg.ts";
import { durationGraceS, tooLong, tooManyPixels, type Limits, type Plan } from "./plan.ts";
import type { Probe } from "./probe.ts";

const cut = "The file is incomplete: a part of the video is missing. Please upload it again.";
const notAVideo = "This file is not a video that we can read. MP4, MOV, MKV and WebM are fine.";
const noPicture = "There is no picture in this video that can be decoded.";
const damaged = "The video is damaged: it cannot be decoded.";
const tooMuchMemory = "The video needs more memory to decode than we can give it.";

/** How FFmpeg ends on input that it cannot cope with, beside its exit code: by a crash, or by the limit on its files. */
export const crashes = /SIGSEGV|SIGBUS|SIGABRT|SIGFPE|SIGILL|SIGXFSZ|SIGSYS/;

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
  if (kind !== "exit") return null;
  if (/max pixel count/.test(output.stderr)) return tooManyPixels(limits);
  if (/moov atom not found|ended prematurely/.test(output.stderr)) return new BadUpload(cut);
  return new BadUpload(notAVideo);
}

/** What is wrong with a file that could be read but not transcoded; null when that was not the file's fault. */
export function whyUndecodable(failure: FfmpegFailure, limits: Limits): BadUpload | null {
  const { kind, message, output } = failure;
  if (kind === "signal" && crashes.test(message)) return new BadUpload(damaged);
  if (kind !== "exit" || /No space left on device/.test(output.stderr)) return null;
  if (/max pixel count/.test(output.stderr)) return tooManyPixels(limits);
  if (/Cannot allocate memory/.test(output.stderr)) return new BadUpload(tooMuchMemory);
  return new BadUpload(readLooks(output.stdout).length === 0 ? noPicture : damaged);
}

/**
 * Looks at what a run made before anybody sees it.
 * @returns the duration in milliseconds.
 * @throws {BadUpload} when the file was cut or is longer than it said; {Error} when the result is not what was planned.
 */
export function checkResult(source: Probe, plan: Plan, result: Probe, output: FfmpegOutput, limits: Limits): number {
  const video = result.streams.find((stream) => stream.type === "video");
  const audio = result.streams.find((stream) => stream.type === "audio");
  if (!video?.duration || result.duration === null) throw new BadUpload(noPicture);
  if (result.duration > limits.maxDurationS + durationGraceS) throw tooLong(limits);
  if (lacks(source, result) && output.stderr.trim() !== "") throw new BadUpload(cut);
  if (video.codec !== "h264" || video.pixelFormat !== "yuv420p") throw new Error("the result is not H.264 in yuv420p");
  if (video.width !== plan.width || video.height !== plan.height) throw new Error("the result has another size");
  if (audio ? audio.codec !== "aac" : plan.withAudio) throw new Error("the sound of the result is missing or not AAC");
  return Math.round(result.duration * 1000);
}

/**
 * Is the result shorter than the file says it is, as a whole or in its picture? A quarter of a second, or a hundredth of the
 * duration, is no loss: the last picture is shown for a time that the result need not keep. Even so it only counts as cut when
 * FFmpeg complained too, because a slide show may show its last picture for long.
 */
function lacks(source: Probe, result: Probe): boolean {
  return isShort(source.duration, result.duration) || isShort(pictureDuration(source), pictureDuration(result));
}

function isShort(said: number | null, is: number | null): boolean {
  return said !== null && (is ?? 0) < said - Math.max(0.25, said / 100);
}

function pictureDuration({ streams }: Probe): number | null {
  return streams.find((stream) => stream.type === "video" && !stream.isPicture)?.duration ?? null;
}

/**
 * Chooses the cover: the first candidate that is neither nearly black, nor nearly white, nor blank; else the one with most to see.
 * @param stdout signalstats of the candidates, as the plan prints them.
 * @param count candidates that were written; when the picture changes its size in the middle, more are printed.
 * @returns its index; 0 when nothing is known.
 */
export function chooseCover(stdout: string, count: number): number {
  const looks = readLooks(stdout).slice(0, count);
  const good = looks.findIndex(({ light, spread }) => light >= 40 && light <= 220 && spread >= 16);
  if (good >= 0) return good;
  const worth = looks.map(({ light, spread }) => (light > 220 ? 40 : light) + 2 * spread);
  return Math.max(0, worth.indexOf(Math.max(...worth)));
}

/** Mean luminance, and the span of its middle 80 %, of each candidate: 16 is black and 235 white. */
function readLooks(stdout: string): { light: number; spread: number }[] {
  return stdout
    .split(/^frame:/m)
    .slice(1)
    .map((block) => {
      const stat = (name: string) => Number(new RegExp(`signalstats\\.${name}=([\\d.]+)`).exec(block)?.[1] ?? 0);
      return { light: stat("YAVG"), spread: stat("YHIGH") - stat("YLOW") };
    });
}
