import { planColour } from "./colour.ts";
import { planLadder } from "./ladder.ts";
import { bitrateOf, keyframeSeconds } from "./plan.ts";
import type { Probe, ProbedStream } from "./probe.ts";

/** A packet of a stream, in seconds on the clock of the file. */
export interface Packet {
  stream: number;
  /** Null where the file does not say. */
  time: number | null;
  duration: number | null;
  isKey: boolean;
  /** Not to be shown: an edit list cuts it off. */
  isDiscarded: boolean;
}

export const packetEntries = "packet=stream_index,pts_time,duration_time,flags";

/** @param csv ffprobe's answer to {@link packetEntries} with `-of csv=p=0`. */
export function parsePackets(csv: string): Packet[] {
  return csv.split("\n").flatMap((line) => {
    const [stream, time, duration, flags] = line.split(",");
    if (flags === undefined) return [];
    const isKey = flags.startsWith("K");
    const isDiscarded = flags[1] === "D";
    return [{ stream: Number(stream), time: number(time), duration: number(duration), isKey, isDiscarded }];
  });
}

const profiles = new Set(["High", "Main", "Baseline", "Constrained Baseline"]);
const maxLevel = 42;
const maxFrameRate = 60.5;
/** As much more than its ceiling a picture may take that is taken over. */
const bitrateGrace = 1.1;
const keyframeGraceS = 0.1;
/** Sound and picture may begin so far from each other. */
const startGraceS = 0.03;
const gapGraceS = 0.005;

/** May a picture be worth taking over? Cheap to tell, before its packets are read. */
export function mayConform(video: ProbedStream, probe: Probe, bytes: number): boolean {
  const top = planLadder(video, null).at(-1);
  const { width, height, pixelAspect, rotation, interlaced, frameRate } = video;
  const isOurs = video.codec === "h264" && profiles.has(video.profile ?? "") && video.pixelFormat === "yuv420p";
  const isPlain = pixelAspect === 1 && rotation === 0 && !interlaced && planColour(video).filter === "format=yuv420p";
  const isSize = top?.width === width && top.height === height;
  const isLight = (bitrateOf(video, probe, bytes) ?? Infinity) <= (top?.maxBitrate ?? 0) * bitrateGrace;
  const isModest = video.level > 0 && video.level <= maxLevel && frameRate > 0 && frameRate <= maxFrameRate;
  return isOurs && isPlain && isSize && isLight && isModest && isNear(video.start, probe.start);
}

/** Does every part of a picture begin with a keyframe, from the very beginning on? */
export function pictureConforms(video: ProbedStream, probe: Probe, packets: readonly Packet[]): boolean {
  const own = packets.filter(({ stream }) => stream === video.index);
  if (own.length === 0 || own.some(({ time, isDiscarded }) => time === null || isDiscarded)) return false;
  const keys = own.filter(({ isKey }) => isKey).map(({ time }) => time ?? 0);
  const ends = own.map(({ time, duration }) => (time ?? 0) + (duration ?? 0));
  const begins = own.map(({ time }) => time ?? 0);
  const end = ends.reduce((latest, time) => Math.max(latest, time), 0);
  const first = begins.reduce((earliest, time) => Math.min(earliest, time), Infinity);
  const gaps = [...keys, end].map((time, at, all) => time - (all[at - 1] ?? time));
  return (
    own[0]?.isKey === true &&
    isNear(keys[0] ?? null, first) &&
    isNear(first, probe.start) &&
    gaps.every((gap) => gap <= keyframeSeconds + keyframeGraceS)
  );
}

/** Do the packets of a sound follow each other without a gap from the beginning of the video on? */
export function isContinuous(sound: ProbedStream, probe: Probe, packets: readonly Packet[]): boolean {
  const own = packets.filter(({ stream }) => stream === sound.index);
  let end: number | null = null;
  for (const { time, duration } of own) {
    if (time === null || duration === null) return false;
    if (end === null ? Math.abs(time - probe.start) > startGraceS : Math.abs(time - end) > gapGraceS) return false;
    end = time + duration;
  }
  return own.length > 0;
}

function isNear(time: number | null, other: number): boolean {
  return time !== null && Math.abs(time - other) <= startGraceS;
}

function number(text: string | undefined): number | null {
  const value = Number(text);
  return text === undefined || text === "" || !Number.isFinite(value) ? null : value;
}
