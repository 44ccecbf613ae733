import { BadUpload } from "./bad-upload.ts";

/** What we accept and how much we spend on it; each is a variable of the environment. */
export interface Limits {
  maxInputBytes: number;
  maxDurationS: number;
  /** Pixels of one picture, as stored. */
  maxPixels: number;
  /** Streams of one file. */
  maxStreams: number;
  /** Of one file that FFmpeg writes; most plans allow less. */
  maxOutputBytes: number;
  /** A run of FFmpeg may take so long, and so much more for every second of the video. */
  maxRunS: number;
  maxRunSPerSecond: number;
}

export const defaultLimits: Limits = {
  maxInputBytes: 1_073_741_824,
  maxDurationS: 600,
  maxPixels: 4096 * 4096,
  maxStreams: 64,
  maxOutputBytes: 2_000_000_000,
  maxRunS: 60,
  maxRunSPerSecond: 10,
};

/** A recorder that is asked for so many seconds stops a little later. */
export const durationGraceS = 0.5;

export function tooLong({ maxDurationS }: Pick<Limits, "maxDurationS">): BadUpload {
  return new BadUpload(`The video is longer than ${maxDurationS} seconds.`);
}

export function tooManyPixels({ maxPixels }: Pick<Limits, "maxPixels">): BadUpload {
  return new BadUpload(`The picture has more than ${maxPixels} pixels.`);
}

export function tooManyStreams({ maxStreams }: Limits): BadUpload {
  return new BadUpload(`The file has more than ${maxStreams} tracks.`);
}
