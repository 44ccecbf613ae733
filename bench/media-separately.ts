import type { FfmpegRun } from "@flick/media-worker/ffmpeg-run.ts";
import type { MadeFiles } from "@flick/media-worker/make-video.ts";

/**
 * The commands by which a person would make the same as a job of the media worker, one after the other, each from the upload:
 *
 * - the loudness of the sound,
 * - for each rendition an MP4, with the encoders' options and the sound filters that the worker used, and its HLS stream by copying,
 * - small pictures of 32 moments to choose the cover from,
 * - the cover in two sizes and two formats, the preview, and what the ThumbHash is made of; these seek to where they begin.
 *
 * Not among them, though the worker does it: listing packets, measuring what the limiter and the encoder made of the sound, probing
 * what came out.
 *
 * @param runs what the worker ran.
 * @returns FFmpeg's arguments.
 */
export function separateCommands(runs: readonly FfmpegRun[], made: MadeFiles): string[][] {
  const pictures = runs[0]?.outputs ?? [];
  const soundOutput = runs.flatMap(({ outputs }) => outputs).find(({ file }) => file === "sound.m4a");
  if (!soundOutput) throw new Error("the worker made no sound");
  const soundOptions = withoutMap(soundOutput.options);
  return [
    words("-i input -map 0:a -af aresample=48000,ebur128=peak=true:framelog=verbose -f null -"),
    ...made.renditions.flatMap(({ width, height }) => {
      const picture = pictures.find(({ file }) => file === `picture-${width}.mp4`);
      if (!picture) throw new Error(`the worker made no picture ${width} wide`);
      const scaled = ["-vf", `scale=${width}:${height}:flags=bicubic,setsar=1,format=yuv420p`];
      return [
        [
          ...words("-i input -map 0:v -map 0:a"),
          ...scaled,
          ...withoutMap(picture.options),
          ...soundOptions,
          ...words(`-movflags +faststart s${width}.mp4`),
        ],
        words(`-i s${width}.mp4 -c copy ${hls} s${width}.m3u8`),
      ];
    }),
    [...words("-i input -map 0:v -vf"), look, ...words("-fps_mode passthrough -f rawvideo s.gray")],
    ...[360, 720].flatMap((width) => [
      words(`-ss 5 -i input -frames:v 1 -vf scale=${width}:-2 -c:v libwebp -quality 80 s${width}.webp`),
      words(`-ss 5 -i input -frames:v 1 -vf scale=${width}:-2 -pix_fmt yuvj420p -q:v 3 s${width}.jpg`),
    ]),
    words("-ss 5 -i input -frames:v 1 -vf scale=56:100:flags=area,format=rgba -f rawvideo s.rgba"),
    words(`-ss 4 -t 3 -i input -an -vf fps=8,scale=240:-2 ${animation} s.webp`),
  ];
}

const hls = "-f hls -hls_segment_type fmp4 -hls_flags single_file -hls_playlist_type vod -hls_list_size 0 -hls_time 2";
const look = "select='lt(mod(n,15),3)',scale=184:326:flags=area,format=gray";
const animation = "-c:v libwebp_anim -loop 0 -quality 45 -compression_level 1";

function withoutMap(options: readonly string[]): string[] {
  const at = options.indexOf("-map");
  return at < 0 ? [...options] : options.toSpliced(at, 2);
}

function words(text: string): string[] {
  return text.split(" ");
}
