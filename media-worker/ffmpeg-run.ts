/** One run of FFmpeg. File names are relative to the folder of the job. */
export interface FfmpegRun {
  inputs: { file: string; options: string[] }[];
  /** A complex filter graph, or null. */
  filter: string | null;
  outputs: { file: string; options: string[] }[];
  /** Kill it after so long. */
  timeLimitMs: number;
  /** No file may grow beyond this. */
  maxOutputBytes: number;
}

export const inputFile = "input";

/** Demuxers for videos, by their names in FFmpeg; none of them opens other files. */
export const videoFormats = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm";

const videoCodecs = "h264 hevc av1 vp9 vp8 mpeg4 mpeg2video mpeg1video mjpeg h263 prores ffv1 theora".split(" ");
const soundCodecs =
  "aac mp3 opus vorbis flac alac ac3 eac3 amr_nb amr_wb pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_f32le pcm_u8".split(
    " ",
  );
/** Decoders that go by another name than their codec. */
const otherDecoders =
  "libdav1d libaom-av1 av1 libvpx libvpx-vp9 mp3float libopus libvorbis amrnb amrwb png mjpeg".split(" ");
const decoders = [...new Set([...videoCodecs, ...soundCodecs, ...otherDecoders])].join(",");

/** Codecs that we decode: what phones, cameras and editors write. FFmpeg knows hundreds more, which are only a risk. */
export const knownCodecs = { video: new Set(videoCodecs), audio: new Set(soundCodecs) };

/**
 * Of a decoder, and of each encoder. A job has two cores, which three threads keep busy: with two it takes 5 to 8 % longer. FFmpeg takes more
 * memory with every thread, and jobs run beside each other.
 */
export const threads = "3";

/**
 * Read nothing but the one file: no playlists that name others, no network.
 * @param formats names of the demuxers that may be used, with commas between them.
 */
export const hostileInputOptions = (maxPixels: number, formats: string) =>
  words(`-protocol_whitelist file -format_whitelist ${formats} -max_pixels ${maxPixels}`);

/** The same for videos, whose decoders are chosen too. */
export const hostileVideoOptions = (maxPixels: number) => [
  ...hostileInputOptions(maxPixels, videoFormats),
  "-codec_whitelist",
  decoders,
];

/** Before everything else: no questions, and only errors and, where asked for, progress in what it prints. */
export const quiet = words("-nostdin -v error");

/** Metadata may tell where it was filmed, and on what. */
export const withoutMetadata = words("-map_metadata -1 -map_chapters -1 -fflags +bitexact");

/** Arguments that hold no spaces themselves. */
export function words(text: string): string[] {
  return text.split(" ");
}
