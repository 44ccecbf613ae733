import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { aac, beep, clip, corners, ready, steps, x264 } from "./clips.ts";
import type { Entry } from "./entry.ts";

const small = ["360x640"];
const both = `${corners()} ${beep()}`;
const silent = { sound: "none", flashMs: undefined } as const;
const tall = { size: "720x1280" };
const x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error -pix_fmt yuv420p10le";
const tags = (transfer: string) => `-colorspace bt2020nc -color_primaries bt2020 -color_trc ${transfer}`;

/** Files that become videos. */
export const good: Entry[] = [
  // Sizes and turns.
  clip(
    "phone-1080.mp4",
    `${corners({ size: "1080x1920" })} ${beep()} ${x264} ${aac} {}`,
    ready(["540x960", "720x1280", "1080x1920"]),
  ),
  clip(
    "phone-720.mp4",
    `${corners(tall)} ${beep()} ${x264} -g 300 ${aac} -ar 44100 {}`,
    ready(["540x960", "720x1280"], { copied: [] }),
    true,
  ),
  clip(
    "conforming.mp4",
    `${corners(tall)} ${beep()} -af volume=0.93 -c:v libx264 -preset veryfast -pix_fmt yuv420p -g 60 ${aac} {}`,
    ready(["540x960", "720x1280"], { copied: ["picture"] }),
    true,
  ),
  clip(
    "conforming-small.mp4",
    `${both} -c:v libx264 -preset veryfast -pix_fmt yuv420p -g 60 ${aac} {}`,
    ready(small, { copied: ["picture"] }),
  ),
  clip(
    "landscape-1080.mp4",
    `${corners({ size: "1920x1080" })} ${beep()} ${x264} ${aac} {}`,
    ready(["540x304", "720x404", "1080x608"]),
  ),
  steps("turned-90.mp4", (place) => turned(place, "transpose=clock", 90), ready(["360x640"]), true),
  steps("turned-180.mp4", (place) => turned(place, "hflip,vflip", 180), ready(["360x640"])),
  steps("turned-270.mp4", (place) => turned(place, "transpose=cclock", 270), ready(["360x640"])),
  clip("square.mp4", `${corners({ size: "600x600" })} ${beep()} ${x264} ${aac} {}`, ready(["540x540"])),
  clip(
    "odd.mp4",
    `${corners({ size: "321x241" })} ${beep()} -c:v libx264 -preset ultrafast -pix_fmt yuv444p ${aac} {}`,
    ready(["320x240"]),
    true,
  ),
  clip(
    "wide-pixels.mp4",
    `${corners({ size: "240x240" }, ",setsar=16/9")} ${beep()} ${x264} ${aac} {}`,
    ready(["426x240"]),
    true,
  ),
  clip(
    "narrow-pixels.mp4",
    `${corners({ size: "480x240" }, ",setsar=1/2")} ${beep()} ${x264} ${aac} {}`,
    ready(["240x240"]),
  ),
  clip(
    "tall.mp4",
    `${corners({ size: "1080x2400", seconds: 2 })} ${beep({ seconds: 2 })} ${x264} ${aac} {}`,
    ready(["540x1200", "720x1600", "864x1920"], { durationMs: 2000 }),
  ),
  clip(
    "ribbon.mp4",
    `${corners({ size: "1280x64" })} ${beep()} ${x264} ${aac} {}`,
    ready(["540x26", "720x36", "1080x54"]),
  ),
  clip(
    "one-pixel.mp4",
    `-f lavfi -i color=red:size=4x4:rate=10:duration=1,crop=1:1:exact=1 -c:v libx264 -pix_fmt yuv444p {}`,
    ready(["2x2"], { ...silent, upright: false, durationMs: 1000 }),
    true,
  ),
  // Pictures in time.
  clip(
    "variable-rate.mkv",
    `${corners({ fps: 60 }, ",select='not(mod(floor(n/7),3))+eq(mod(n,5),0)+between(n,60,66)'")} ${beep()} -fps_mode vfr ${x264} ${aac} {}`,
    ready(small),
    true,
  ),
  clip(
    "slide-show.mp4",
    `${corners({ fps: 2, seconds: 4 })} ${beep({ seconds: 4 })} ${x264} ${aac} {}`,
    ready(small, { durationMs: 4000 }),
  ),
  clip("60-a-second.mp4", `${corners({ fps: 60 })} ${beep()} ${x264} ${aac} {}`, ready(small, { maxFps: 60 })),
  clip("120-a-second.mp4", `${corners({ fps: 120 })} ${beep()} ${x264} ${aac} {}`, ready(small, { maxFps: 60 }), true),
  clip("odd-rate.mp4", `${corners({ fps: "24000/1001" })} ${beep()} ${x264} ${aac} {}`, ready(small)),
  clip(
    "interlaced.mkv",
    `${corners({ fps: 50 }, ",tinterlace=interleave_top")} ${beep()} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -flags +ilme+ildct ${aac} {}`,
    ready(small),
  ),
  clip(
    "long-gop.mp4",
    `${corners({ seconds: 12 })} ${beep({ seconds: 12 })} ${x264} -g 900 -sc_threshold 0 ${aac} {}`,
    ready(small, { durationMs: 12_000, copied: [] }),
  ),
  clip("one-picture.mp4", `${corners()} -frames:v 1 ${x264} {}`, ready(small, { ...silent, durationMs: 33 }), true),
  clip(
    "fifth-of-a-second.mp4",
    `${corners({ seconds: 0.2 })} ${beep({ seconds: 0.2 })} ${x264} ${aac} {}`,
    ready(small, { durationMs: 200, sound: "present", flashMs: undefined }),
  ),
  // Colours.
  clip("hevc-10-bit.mp4", `${both} ${x265} -tag:v hvc1 ${aac} {}`, ready(small), true),
  clip("hdr-pq.mp4", hdr("smpte2084"), ready(small), true),
  clip("hdr-hlg.mp4", hdr("arib-std-b67"), ready(small)),
  clip(
    "wide-gamut.mp4",
    `${corners({}, graded("bt2020-10"))} ${beep()} ${x265} ${tags("bt2020-10")} ${aac} {}`,
    ready(small),
  ),
  clip("4-2-2.mp4", `${both} -c:v libx264 -preset ultrafast -pix_fmt yuv422p10le ${aac} {}`, ready(small)),
  clip("4-4-4.mp4", `${both} -c:v libx264 -preset ultrafast -pix_fmt yuv444p ${aac} {}`, ready(small)),
  clip(
    "full-range.mp4",
    `${both} -c:v libx264 -preset ultrafast -pix_fmt yuvj420p ${aac} {}`,
    ready(small, { copied: [] }),
  ),
  clip("rgb.mkv", `${both} -c:v libx264rgb -preset ultrafast ${aac} {}`, ready(small)),
  clip(
    "black.mp4",
    `-f lavfi -i color=black:size=360x640:rate=30:duration=1 ${x264} {}`,
    ready(small, { ...silent, upright: false, durationMs: 1000 }),
  ),
  // Codecs and containers.
  clip("vp9-opus.webm", `${both} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus {}`, ready(small), true),
  clip(
    "vp8-live.webm",
    `${both} -c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis -live 1 -f webm {}`,
    ready(small),
    true,
  ),
  clip(
    "av1.mkv",
    `${corners({ size: "180x320" })} ${beep()} -c:v libsvtav1 -preset 12 -pix_fmt yuv420p -c:a libopus {}`,
    ready(["180x320"]),
  ),
  clip("mpeg4-mp3.mp4", `${both} -c:v mpeg4 -q:v 4 -c:a libmp3lame {}`, ready(small)),
  clip("prores-pcm.mov", `${both} -c:v prores_ks -profile:v 1 -c:a pcm_s16le {}`, ready(small)),
  clip("mjpeg-pcm.mov", `${both} -c:v mjpeg -q:v 4 -c:a pcm_s16be {}`, ready(small)),
  clip("h263.3gp", `${corners({ size: "176x144", fps: 15 })} ${beep()} -c:v h263 ${aac} {}`, ready(["176x144"])),
  clip("mpeg2.mkv", `${both} -c:v mpeg2video -q:v 4 -c:a ac3 {}`, ready(small)),
  clip("fragments.mp4", `${both} ${x264} ${aac} -movflags frag_keyframe+empty_moov {}`, ready(small)),
  clip("index-in-front.mp4", `${both} ${x264} ${aac} -movflags +faststart {}`, ready(small)),
  // Sound.
  clip("no-sound.mp4", `${corners()} ${x264} {}`, ready(small, silent), true),
  clip("mono.mp4", `${corners()} ${beep({ layout: "mono", rate: 22_050 })} ${x264} ${aac} {}`, ready(small), true),
  clip("surround.mp4", `${corners()} ${beep({ layout: "5.1" })} ${x264} -c:a aac -b:a 256k {}`, ready(small), true),
  clip("two-sounds.mp4", `${both} -f lavfi -i anoisesrc=d=3 -map 0 -map 1 -map 2 ${x264} ${aac} {}`, ready(small)),
  clip(
    "silence.mp4",
    `${corners()} -f lavfi -i anullsrc=r=48000:cl=stereo:d=3 -t 3 ${x264} ${aac} {}`,
    ready(small, { sound: "present", flashMs: undefined }),
    true,
  ),
  clip("quiet.mp4", `${both} -af volume=-18dB ${x264} ${aac} {}`, ready(small), true),
  clip("loud.mp4", `${both} -af volume=14dB,alimiter=limit=1:level=false ${x264} ${aac} {}`, ready(small)),
  clip(
    "peaks.mp4",
    `${corners()} -f lavfi -i aevalsrc='0.03*sin(2*PI*300*t)+if(lt(mod(t,0.25),0.002),0.9*sin(2*PI*2000*t),0)':s=48000:d=3 ${x264} ${aac} {}`,
    ready(small, { flashMs: undefined, sound: "present" }),
  ),
  clip(
    "sound-begins-late.mp4",
    `${corners()} -itsoffset 0.7 -f lavfi -i aevalsrc='if(between(t,0.3,0.4),0.6*sin(2*PI*1000*t),0.15*sin(2*PI*220*t))':s=48000:d=2.3 ${x264} ${aac} {}`,
    ready(small),
    true,
  ),
  clip(
    "picture-begins-late.mkv",
    `-itsoffset 0.5 ${corners({ seconds: 2.5 }, ",setpts=PTS-0").replace("between(t,1,1.1)", "between(t,0.5,0.6)")} ${beep()} ${x264} ${aac} {}`,
    ready(small),
    true,
  ),
  clip("sound-ends-early.mp4", `${corners()} ${beep({ seconds: 1.5 })} ${x264} ${aac} {}`, ready(small)),
  clip("sound-ends-late.mp4", `${corners({ seconds: 2 })} ${beep()} ${x264} ${aac} {}`, ready(small)),
  clip("gap-in-sound.mkv", `${both} -af aselect='not(between(t,1.5,2))' ${x264} ${aac} {}`, ready(small)),
  // Clocks.
  steps("trimmed.mp4", trimmed, ready(small, { durationMs: 2500, flashMs: 500 }), true),
  clip("below-zero.mkv", `${both} -output_ts_offset -0.5 -avoid_negative_ts disabled ${x264} ${aac} {}`, ready(small)),
  clip("far-from-zero.mkv", `${both} -output_ts_offset 5000 ${x264} ${aac} {}`, ready(small)),
  // What else may be in a file.
  clip(
    "two-videos.mp4",
    `${both} -f lavfi -i testsrc=size=640x360:duration=3 -map 0 -map 2 -map 1 ${x264} ${aac} {}`,
    ready(small),
  ),
  steps("with-a-picture.mp4", withPicture, ready(small), true),
  steps("subtitles-and-chapters.mp4", withText, ready(small)),
  clip(
    "told-where.mp4",
    `${both} -metadata location=+52.5163+013.3777/ -metadata title=holiday -metadata:s:v handler_name=someone -movflags use_metadata_tags ${x264} ${aac} {}`,
    ready(small, { copied: [] }),
    true,
  ),
  clip(
    "small-already.mp4",
    `${corners(tall, ",noise=alls=20:allf=t")} ${beep()} -c:v libx264 -preset veryfast -b:v 600k -maxrate 600k -bufsize 600k -pix_fmt yuv420p -g 300 -c:a aac -b:a 64k {}`,
    ready(["540x960", "720x1280"], { grows: false }),
  ),
  // Names; FFmpeg is never told them.
  ...["-i.mp4", `it's "quoted" $(x).mp4`, "two\nlines.mp4", "nul\0.mp4", "%d %s.mp4", "..%2f..%2f.mp4"].map(
    (name, at) => clip(name, `${both} ${x264} ${aac} {}`, ready(small), at < 2),
  ),
];

function hdr(transfer: "smpte2084" | "arib-std-b67"): string {
  return `${corners({}, graded(transfer))} ${beep()} ${x265} ${tags(transfer)} -tag:v hvc1 ${aac} {}`;
}

/** To wide gamut, with white at 203 nits, as broadcasters do. */
function graded(transfer: string): string {
  const given = "format=yuv444p,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv";
  const linear = "zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt2020";
  return `,${given},${linear},zscale=transfer=${transfer}:matrix=bt2020nc:range=tv:npl=203,format=yuv420p10le`;
}

/** @param degrees counterclockwise: FFmpeg 5.1 writes them so into the display matrix. */
async function turned({ ffmpeg, file }: Parameters<Entry["make"]>[0], how: string, degrees: number): Promise<void> {
  await ffmpeg(`${corners({}, `,${how}`)} ${beep()} ${x264} ${aac} flat.mp4`);
  await ffmpeg(`-i flat.mp4 -c copy -metadata:s:v rotate=${degrees} ${file}`);
}

async function trimmed({ ffmpeg, file }: Parameters<Entry["make"]>[0]): Promise<void> {
  await ffmpeg(`${corners()} ${beep()} ${x264} -g 120 -bf 2 ${aac} whole.mp4`);
  await ffmpeg(`-ss 0.5 -i whole.mp4 -c copy ${file}`);
}

async function withPicture({ ffmpeg, file }: Parameters<Entry["make"]>[0]): Promise<void> {
  await ffmpeg("-f lavfi -i testsrc=size=64x64 -frames:v 1 -c:v png cover.png");
  await ffmpeg(`${corners()} ${beep()} ${x264} ${aac} whole.mp4`);
  await ffmpeg(`-i cover.png -i whole.mp4 -map 0 -map 1 -c copy -disposition:v:0 attached_pic ${file}`);
}

async function withText({ dir, ffmpeg, file }: Parameters<Entry["make"]>[0]): Promise<void> {
  await writeFile(join(dir, "words.srt"), "1\n00:00:00,000 --> 00:00:02,000\nHello\n");
  await writeFile(join(dir, "chapters.txt"), ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=home\n");
  await ffmpeg(
    `${corners()} ${beep()} -i words.srt -i chapters.txt -map 0 -map 1 -map 2 -map_metadata 3 ${x264} ${aac} -c:s mov_text ${file}`,
  );
}
