import type { Entry, Failed, Place, Ready } from "./entry.ts";

/** When the flash and the beep of every clip come. */
const flashS = 1;
const flash = `between(t,${flashS},${flashS + 0.1})`;

interface ClipSource {
  size?: string;
  fps?: number | string;
  seconds?: number;
}

/**
 * Red, green, blue and white corners, something that moves, and a flash of white after a second. As one argument of `-i`.
 * @param behind filters behind it.
 */
export function corners({ size = "360x640", fps = 30, seconds = 3 }: ClipSource = {}, behind = ""): string {
  const boxes = [
    "drawbox=0:0:iw/2:ih/2:red:fill",
    "drawbox=iw/2:0:iw/2:ih/2:lime:fill",
    "drawbox=0:ih/2:iw/2:ih/2:blue:fill",
    `drawbox=x='mod(t*97,iw/4)+iw/3':y=ih*2/5:w=iw/8+1:h=ih/8+1:c=gray:t=fill`,
    `drawbox=0:0:iw:ih:white:fill:enable='${flash}'`,
  ];
  return `-f lavfi -i color=white:size=${size}:rate=${fps}:duration=${seconds},format=gbrp,${boxes.join(",")}${behind}`;
}

/** A hum, and a beep after a second. As one argument of `-i`. */
export function beep({
  seconds = 3,
  layout = "stereo",
  rate = 48_000,
}: { seconds?: number; layout?: string; rate?: number } = {}): string {
  const sound = `if(${flash},0.6*sin(2*PI*1000*t),0.15*sin(2*PI*220*t))`;
  const channels = { mono: 1, stereo: 2, "5.1": 6 }[layout] ?? 2;
  const all = Array.from({ length: channels }, () => sound).join("|");
  return `-f lavfi -i aevalsrc='${all}':s=${rate}:d=${seconds}:c=${layout}`;
}

export const x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
export const aac = "-c:a aac -b:a 128k";

/** What a clip of three seconds with flash, beep and corners has to become. */
export function ready(renditions: string[], changes: Partial<Ready> = {}): Ready {
  return {
    outcome: "ready",
    renditions,
    durationMs: 3000,
    sound: "level",
    upright: true,
    flashMs: flashS * 1000,
    ...changes,
  };
}

export const failed = (reason: string): Failed => ({ outcome: "failed", reason });

/** An entry that one call of FFmpeg makes; `{}` in its arguments is the file. */
export function clip(name: string, args: string, expect: Entry["expect"], fast = false): Entry {
  return { name, fast, expect, make: (place: Place) => place.ffmpeg(args.replaceAll("{}", place.file)) };
}

/** An entry that is made in several steps. */
export function steps(name: string, make: Entry["make"], expect: Entry["expect"], fast = false): Entry {
  return { name, make, expect, fast };
}
