import { quiet, withoutMetadata, words, type FfmpegRun } from "./ffmpeg-run.ts";
import { even, type Rung } from "./ladder.ts";
import type { Limits } from "./limits.ts";

/** A picture that is stored beside the video. */
export interface CoverFile {
  file: string;
  width: number;
  height: number;
  type: "image/jpeg" | "image/webp";
}

export interface CoverPlan {
  run: FfmpegRun;
  /** Narrowest first; the last JPEG is the one that old clients show. */
  covers: CoverFile[];
  preview: string;
  thumb: { file: string; width: number; height: number };
}

const widths = [360, 720];
const previewWidth = 240;
const previewSeconds = 3;
const previewFps = 8;
/** ThumbHash takes at most 100 pixels a side. */
const thumbSide = 100;
const timeLimitMs = 60_000;

/**
 * Cuts the cover in two sizes and two formats, a preview of three seconds and what its ThumbHash is made of out of a rendition.
 *
 * @param source the rendition, from `file`; `previewFile` is a smaller one of the same moments.
 * @param moment where the cover lies; the pictures of a rendition may lie half a picture beside those of the upload. `previewMs`: where the
 *   preview begins, earlier where the video ends too soon.
 */
export function planCover(
  source: Pick<Rung, "width" | "height"> & { file: string; previewFile: string },
  moment: { timeMs: number; previewMs: number; durationMs: number; frameRate: number },
  limits: Limits,
): CoverPlan {
  const { timeMs, previewMs, durationMs, frameRate } = moment;
  const sizes = [...new Set(widths.map((width) => Math.min(width, source.width)))].map((width) =>
    sizeOf(source, width),
  );
  const thumb = { file: "thumb.rgba", ...thumbSize(source) };
  const preview = "preview.webp";
  const covers = sizes.flatMap(({ width, height }): CoverFile[] => [
    { file: `cover-${width}.webp`, width, height, type: "image/webp" },
    { file: `cover-${width}.jpg`, width, height, type: "image/jpeg" },
  ]);
  const small = sizeOf(source, Math.min(previewWidth, source.width));
  const seekMs = Math.max(0, Math.round(timeMs - 600 / (frameRate || 30)));
  const from = Math.max(0, Math.min(previewMs, durationMs - previewSeconds * 1000)) / 1000;
  const trusted = words("-protocol_whitelist file -format_whitelist mov,mp4,m4a,3gp,3g2,mj2");
  const labels = covers.map((_, at) => `[cover${at}]`).join("");
  const scaled = covers.map(({ width, height }, at) => `[cover${at}]scale=${width}:${height}:flags=lanczos[out${at}]`);
  return {
    run: {
      inputs: [
        { file: source.file, options: [...quiet, ...trusted, "-ss", String(seekMs / 1000)] },
        { file: source.previewFile, options: [...trusted, "-ss", String(from), "-t", String(previewSeconds)] },
      ],
      filter: [
        // Without an end, all of the rest would be decoded and scaled for outputs that take no more.
        `[0:v]trim=end_frame=1,split=${covers.length + 1}[look]${labels}`,
        ...scaled,
        `[look]scale=${thumb.width}:${thumb.height}:flags=area,format=rgba[thumb]`,
        `[1:v]fps=${previewFps}:round=up,scale=${small.width}:${small.height}[preview]`,
      ].join(";"),
      outputs: [
        ...covers.map(({ file, type }, at) => ({ file, options: [...words(`-map [out${at}]`), ...still(type)] })),
        { file: thumb.file, options: words("-map [thumb] -frames:v 1 -f rawvideo") },
        { file: preview, options: [...words("-map [preview]"), ...withoutMetadata, ...words(animation)] },
      ],
      timeLimitMs,
      maxOutputBytes: limits.maxOutputBytes,
    },
    covers,
    preview,
    thumb,
  };
}

const animation = "-c:v libwebp_anim -loop 0 -quality 45 -compression_level 1 -f webp";

function still(type: CoverFile["type"]): string[] {
  const one = [...withoutMetadata, ...words("-frames:v 1 -flags:v +bitexact")];
  if (type === "image/webp") return [...one, ...words("-c:v libwebp -quality 80 -f webp")];
  return [...one, ...words("-c:v mjpeg -pix_fmt yuvj420p -q:v 3 -f image2 -update 1")];
}

function sizeOf(source: { width: number; height: number }, width: number): { width: number; height: number } {
  return width === source.width
    ? { width, height: source.height }
    : { width, height: even((source.height * width) / source.width) };
}

function thumbSize({ width, height }: { width: number; height: number }): { width: number; height: number } {
  const scale = Math.min(1, thumbSide / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}
