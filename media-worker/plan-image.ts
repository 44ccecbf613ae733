import { hostileInputOptions, inputFile, quiet, words, type FfmpegRun } from "./ffmpeg-run.ts";
import type { Limits } from "./limits.ts";

export type ImageLimits = Pick<Limits, "maxInputBytes" | "maxPixels">;

/** What is made of a picture: a square avatar, or a background of its own shape. */
export type ImageShape = "avatar" | "background";

export const imageFile = "picture";

/** By content, one demuxer for each format; none of them names other files. */
export const imageFormats = "jpeg_pipe,png_pipe,apng,webp_pipe,gif";

/** Lengths in pixels. A background that is taller than any screen is cut down like one that is too wide. */
const avatarSide = 512;
const backgroundWidth = 1500;
const backgroundHeight = 3000;
const timeLimitMs = 30_000;
const maxOutputBytes = 10_000_000;

/**
 * The FFmpeg arguments that turn a picture into a JPEG: upright, never larger than it was, without its metadata, on white where it was
 * transparent, the first picture where it was animated.
 */
export function planImage(shape: ImageShape, limits: ImageLimits): FfmpegRun {
  return {
    inputs: [
      {
        file: inputFile,
        options: [
          ...quiet,
          // Whatever is wrong with a picture ends the run: half of one is not what its owner chose.
          ...words("-xerror -err_detect explode -threads 1"),
          ...hostileInputOptions(limits.maxPixels, imageFormats),
        ],
      },
    ],
    filter: [
      `[0:v:0]${shape === "avatar" ? square : fitted},setsar=1,format=rgba,split[under][over]`,
      "[under]lutrgb=r=255:g=255:b=255:a=255[white]",
      "[white][over]overlay=format=gbrp[out]",
    ].join(";"),
    outputs: [{ file: imageFile, options: words(output) }],
    timeLimitMs,
    maxOutputBytes,
  };
}

const square = `crop='min(iw,ih)':'min(iw,ih)':exact=1,scale='min(${avatarSide},iw)':'min(${avatarSide},ih)'`;
const fitted = `scale='min(${backgroundWidth},iw)':'min(${backgroundHeight},ih)':force_original_aspect_ratio=decrease`;
const output =
  "-map [out] -map_metadata -1 -c:v mjpeg -pix_fmt yuvj420p -q:v 3 -fflags +bitexact -flags:v +bitexact" +
  " -frames:v 1 -f image2 -update 1";
