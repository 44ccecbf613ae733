import { quiet, withoutMetadata, words, type FfmpegRun } from "./ffmpeg-run.ts";
import type { Limits } from "./limits.ts";
import { keyframeSeconds, type Plan } from "./plan.ts";
import { soundFile } from "./plan-sound.ts";

/** Names of what a video becomes, in its folder; players are given them as they are here. */
export const names = {
  progressive: (rung: string) => `${rung}.mp4`,
  streamPlaylist: (rung: string) => `hls-${rung}.m3u8`,
  stream: (rung: string) => `hls-${rung}.mp4`,
  master: "hls.m3u8",
};
/** Stands for a rung in the names of the sound's stream. */
export const soundRung = "sound";

/**
 * Both clocks of a stream begin at one second instead of zero: the first pictures are decoded before they are shown, and a time
 * below zero would be moved, for the picture but not for the sound.
 */
const streamOffsetS = 1;
const stream =
  "-f hls -hls_segment_type fmp4 -hls_flags single_file -hls_playlist_type vod -hls_list_size 0" +
  ` -hls_time ${keyframeSeconds} -output_ts_offset ${streamOffsetS} -hls_segment_options movflags=+frag_discont`;

/** Copies the pictures and the sound into faststart MP4s, which hold both, and into HLS streams (CMAF), which hold one each. */
export function planPackage(
  { rungs, sound }: Pick<Plan, "rungs" | "sound">,
  limits: Limits,
  timeLimitMs: number,
): FfmpegRun {
  const files = [...rungs.map(({ file }) => file), ...(sound ? [soundFile] : [])];
  const trusted = words("-protocol_whitelist file -format_whitelist mov,mp4,m4a,3gp,3g2,mj2");
  const copy = ["-c", "copy", ...withoutMetadata];
  const soundMap = sound ? ["-map", `${rungs.length}:a`] : [];
  const streamed = (rung: string, map: string[]) => {
    const options = [...map, ...copy, ...words(stream), "-hls_segment_filename", names.stream(rung)];
    return { file: names.streamPlaylist(rung), options };
  };
  return {
    inputs: files.map((file, at) => ({ file, options: at === 0 ? [...quiet, ...trusted] : trusted })),
    filter: null,
    outputs: [
      ...rungs.map(({ name }, at) => {
        const options = ["-map", `${at}:v`, ...soundMap, ...copy, ...words("-movflags +faststart -f mp4")];
        return { file: names.progressive(name), options };
      }),
      ...rungs.map(({ name }, at) => streamed(name, ["-map", `${at}:v`])),
      ...(sound ? [streamed(soundRung, soundMap)] : []),
    ],
    timeLimitMs,
    maxOutputBytes: limits.maxOutputBytes,
  };
}
