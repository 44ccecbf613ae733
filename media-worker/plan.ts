import { BadUpload } from "./bad-upload.ts";
import type { Probe, ProbedStream } from "./probe.ts";

/** What we accept and how much we spend on it. */
export interface Limits {
  maxInputBytes: number;
  maxDurationS: number;
  /** Pixels of one picture, as stored. */
  maxPixels: number;
}

/** One run of FFmpeg that decodes once and writes everything. File names are relative to the folder of the job. */
export interface FfmpegRun {
  /** Before `-i`. */
  inputOptions: string[];
  filter: string;
  outputs: { file: string; options: string[] }[];
  /** Kill it after so long. */
  timeLimitMs: number;
  /** No file may grow beyond this. */
  maxOutputBytes: number;
}

export interface Plan extends FfmpegRun {
  width: number;
  height: number;
  withAudio: boolean;
  /** Pictures to choose the cover from, at most. */
  covers: number;
}

export const inputFile = "input";
export const playFile = "play.mp4";
/** @param index counts from 0, as the statistics of the covers do. */
export const coverFile = (index: number) => `cover-${index + 1}.jpg`;

export const videoFormats = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm";

/**
 * Read nothing but the one file: no playlists that name others, no network.
 * @param formats names of the demuxers that may be used, with commas between them.
 */
export const hostileInputOptions = (maxPixels: number, formats: string) =>
  words(`-protocol_whitelist file -format_whitelist ${formats} -max_pixels ${maxPixels}`);

const maxWidth = 720;
/** Phones are at most 2.4 times as tall as wide; H.264 decoders of phones stop not far above. */
const maxHeight = 1920;
const maxFps = 60;
const keyframeSeconds = 2;
const videoBitrate = 2_500_000;
const audioBitrate = 128_000;
/** A recorder that is asked for so many seconds stops a little later. */
export const durationGraceS = 0.5;
/** FFmpeg takes more memory with every thread; jobs run beside each other, so that more threads gain nothing. */
const threads = "2";
/** Where to look for a cover, as shares of the duration, beside the very first picture. */
const coverShares = [0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9];
/** Seconds, where the duration is not known. */
const coverSeconds = [0.5, 1, 2, 4, 8, 16, 32];
const baseTimeLimitMs = 60_000;
/** A second of the largest video allowed may take this long on a slow machine. */
const timeLimitPerSecondMs = 10_000;

/**
 * From what a file says of itself to the FFmpeg arguments that turn it into a faststart H.264/AAC MP4 and a handful of pictures,
 * one of which becomes the cover.
 * @throws {BadUpload} when it is nothing that we publish.
 */
export function planVideo(probe: Probe, limits: Limits): Plan {
  const video = pickVideo(probe, limits);
  const audio = probe.streams.find((stream) => stream.type === "audio" && stream.codec !== null);
  if (probe.duration !== null && probe.duration > limits.maxDurationS + durationGraceS) throw tooLong(limits);

  const { width, height } = fit(video);
  const covers = coverTimes(probe.duration);
  const duration = probe.duration ?? limits.maxDurationS;
  return {
    inputOptions: [
      ...words(`-nostdin -v error -threads ${threads}`),
      ...hostileInputOptions(limits.maxPixels, videoFormats),
      // A second more than allowed, so that a file which is longer than it says shows itself in the result.
      ...words(`-t ${limits.maxDurationS + 1}`),
    ],
    filter: [
      `[0:${video.index}]scale=${width}:${height}:out_range=tv,setsar=1,format=yuv420p,split[play][look]`,
      `[look]select='${covers.map(selectAt).join("+")}',signalstats,metadata=mode=print:file=-[cover]`,
    ].join(";"),
    outputs: [
      { file: playFile, options: playOptions(audio) },
      { file: "cover-%d.jpg", options: coverOptions(covers.length) },
    ],
    width,
    height,
    withAudio: audio !== undefined,
    covers: covers.length,
    timeLimitMs: Math.round(baseTimeLimitMs + duration * timeLimitPerSecondMs),
    maxOutputBytes: Math.ceil(10_000_000 + (1.5 * duration * (videoBitrate + audioBitrate)) / 8),
  };
}

export function tooLong({ maxDurationS }: Limits): BadUpload {
  return new BadUpload(`The video is longer than ${maxDurationS} seconds.`);
}

export function tooManyPixels({ maxPixels }: Limits): BadUpload {
  return new BadUpload(`The picture has more than ${maxPixels} pixels.`);
}

function pickVideo(probe: Probe, limits: Limits): ProbedStream {
  const videos = probe.streams.filter((stream) => stream.type === "video" && !stream.isPicture);
  const video = videos.find((stream) => stream.codec !== null && stream.width > 0 && stream.height > 0);
  if (video) {
    if (video.width * video.height > limits.maxPixels) throw tooManyPixels(limits);
    return video;
  }
  if (videos.length > 0) throw new BadUpload("The picture in this file is in a format that we do not know.");
  if (probe.streams.some((stream) => stream.type === "audio")) {
    throw new BadUpload("There is only sound in this file, no picture.");
  }
  throw new BadUpload("There is no video in this file.");
}

/** Size on the screen: turned upright, with square pixels, even as H.264 wants it, never larger than the original. */
function fit({ width, height, pixelAspect, rotation }: ProbedStream): { width: number; height: number } {
  const sideways = Math.abs((Math.abs(rotation) % 180) - 90) < 1;
  const shown = { width: width * pixelAspect, height };
  const [w, h] = sideways ? [shown.height, shown.width] : [shown.width, shown.height];
  const scale = Math.min(1, maxWidth / w, maxHeight / h);
  return { width: even(w * scale), height: even(h * scale) };
}

function even(length: number): number {
  return Math.max(2, 2 * Math.floor(Math.round(length) / 2));
}

function coverTimes(duration: number | null): number[] {
  const times = duration === null ? coverSeconds : coverShares.map((share) => share * duration);
  return [0, ...times.map((time) => Number(time.toFixed(3)))];
}

/** Selects the first picture at or after a time: the first of all for time 0, since nothing was selected before it. */
function selectAt(time: number, index: number): string {
  return index === 0 ? "eq(n,0)" : `gte(t,${time})*lt(prev_selected_t,${time})`;
}

function playOptions(audio: ProbedStream | undefined): string[] {
  return [
    ...words(`-map [play] -c:v libx264 -profile:v high -preset veryfast -threads ${threads}`),
    ...words(`-crf 23 -maxrate ${videoBitrate} -bufsize ${2 * videoBitrate} -fps_mode vfr -fpsmax ${maxFps}`),
    ...words(`-force_key_frames expr:gte(t,n_forced*${keyframeSeconds})`),
    ...(audio ? words(`-map 0:${audio.index} -c:a aac -profile:a aac_low -b:a ${audioBitrate} -ac 2`) : []),
    // Silence where the sound begins late or has gaps, so that it stays with the picture.
    ...(audio ? words("-af aresample=48000:async=1:first_pts=0") : []),
    // Metadata may tell where it was filmed, and on what.
    ...words("-map_metadata -1 -map_chapters -1 -movflags +faststart -f mp4"),
  ];
}

function coverOptions(count: number): string[] {
  const picture = "-c:v mjpeg -pix_fmt yuvj420p -q:v 3";
  return words(`-map [cover] -map_metadata -1 ${picture} -fps_mode passthrough -frames:v ${count} -f image2`);
}

/** Arguments that hold no spaces themselves. */
export function words(text: string): string[] {
  return text.split(" ");
}
