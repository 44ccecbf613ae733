import * as v from "valibot";

/** What ffprobe found in a file. Nothing here can be trusted: it is what the file says of itself. */
export interface Probe {
  /** Seconds; null when the file does not say (a recording that was streamed). */
  duration: number | null;
  /** Seconds at which the first stream begins; FFmpeg takes it for zero. */
  start: number;
  streams: ProbedStream[];
}

export interface ProbedStream {
  index: number;
  type: "video" | "audio" | "other";
  /** Null when FFmpeg does not know the codec. */
  codec: string | null;
  /** As stored: before rotation, in pixels that need not be square. 0 for sound. */
  width: number;
  height: number;
  pixelFormat: string | null;
  /** Width of a pixel divided by its height. */
  pixelAspect: number;
  /** Degrees by which a player has to turn the picture, from the display matrix: what FFmpeg itself goes by. */
  rotation: number;
  /** Seconds, or null. */
  duration: number | null;
  /** Seconds, on the clock of the file; null when unknown. */
  start: number | null;
  /** Bits a second, or null. */
  bitrate: number | null;
  /** As FFmpeg calls them; null when unknown. */
  profile: string | null;
  colorSpace: string | null;
  colorPrimaries: string | null;
  colorTransfer: string | null;
  interlaced: boolean;
  /** H.264: ten times the number of the level; -99 and the like when unknown. */
  level: number;
  /** Pictures a second, on average; 0 when unknown. */
  frameRate: number;
  /** Of sound; 0 for pictures. */
  sampleRate: number;
  channels: number;
  /** A cover picture or a strip of thumbnails, not the video itself. */
  isPicture: boolean;
}

/** Shows only what {@link parseProbe} reads: titles and other free text of the file stay out. */
export const probeEntries = [
  "format=duration,start_time,format_name",
  "stream=index,codec_type,codec_name,profile,level,width,height,pix_fmt,sample_aspect_ratio,duration,start_time,bit_rate",
  "stream=color_space,color_primaries,color_transfer,field_order,avg_frame_rate,sample_rate,channels",
  "stream_disposition=attached_pic,timed_thumbnails",
  "stream_side_data=rotation",
].join(":");

const numeric = v.optional(v.pipe(v.string(), v.transform(Number)));

const Answer = v.object({
  format: v.object({ duration: numeric, start_time: numeric, format_name: v.optional(v.string(), "") }),
  streams: v.array(
    v.object({
      index: v.number(),
      codec_type: v.optional(v.string()),
      codec_name: v.optional(v.string()),
      width: v.optional(v.number(), 0),
      height: v.optional(v.number(), 0),
      pix_fmt: v.optional(v.string()),
      sample_aspect_ratio: v.optional(v.string(), "1:1"),
      duration: numeric,
      start_time: numeric,
      bit_rate: numeric,
      profile: v.optional(v.string()),
      level: v.optional(v.number(), 0),
      color_space: v.optional(v.string()),
      color_primaries: v.optional(v.string()),
      color_transfer: v.optional(v.string()),
      field_order: v.optional(v.string(), "progressive"),
      avg_frame_rate: v.optional(v.string(), "0/0"),
      sample_rate: v.optional(v.pipe(v.string(), v.transform(Number)), "0"),
      channels: v.optional(v.number(), 0),
      disposition: v.optional(v.record(v.string(), v.number()), {}),
      side_data_list: v.optional(v.array(v.object({ rotation: v.optional(v.number()) })), []),
    }),
  ),
});

/** @param json ffprobe's answer to {@link probeEntries} with `-of json`. */
export function parseProbe(json: string): Probe {
  const { format, streams } = v.parse(Answer, JSON.parse(json));
  return {
    duration: positive(lengthOf(format)),
    start: finite(format.start_time) ?? 0,
    streams: streams.map((stream) => ({
      index: stream.index,
      type: stream.codec_type === "video" || stream.codec_type === "audio" ? stream.codec_type : "other",
      codec: stream.codec_name === undefined || stream.codec_name === "unknown" ? null : stream.codec_name,
      width: stream.width,
      height: stream.height,
      pixelFormat: stream.pix_fmt ?? null,
      pixelAspect: ratio(stream.sample_aspect_ratio),
      rotation: stream.side_data_list.find((data) => data.rotation !== undefined)?.rotation ?? 0,
      duration: positive(stream.duration),
      start: finite(stream.start_time),
      bitrate: positive(stream.bit_rate),
      profile: stream.profile ?? null,
      level: stream.level,
      colorSpace: stream.color_space ?? null,
      colorPrimaries: stream.color_primaries ?? null,
      colorTransfer: stream.color_transfer ?? null,
      interlaced: /^(tt|bb|tb|bt)$/.test(stream.field_order),
      frameRate: frameRate(stream.avg_frame_rate),
      sampleRate: stream.sample_rate,
      channels: stream.channels,
      isPicture: stream.disposition["attached_pic"] === 1 || stream.disposition["timed_thumbnails"] === 1,
    })),
  };
}

/** Matroska, as FFmpeg and others write it, counts from zero, wherever its first stream begins. */
function lengthOf({ duration, start_time: start, format_name: name }: v.InferOutput<typeof Answer>["format"]) {
  return duration !== undefined && name.startsWith("matroska") ? duration - Math.max(0, finite(start) ?? 0) : duration;
}

function positive(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) && value > 0 ? value : null;
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}

function frameRate(text: string): number {
  const [count = 0, perSeconds = 0] = text.split("/").map(Number);
  const value = count / perSeconds;
  return Number.isFinite(value) ? value : 0;
}

/** `4:3` as a number; 1 for what is unknown (`0:1`) or absurd. */
function ratio(text: string): number {
  const [width = 0, height = 0] = text.split(":").map(Number);
  const value = width / height;
  return value >= 0.1 && value <= 10 ? value : 1;
}
