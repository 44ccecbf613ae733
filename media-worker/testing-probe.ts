import type { Probe, ProbedStream } from "./probe.ts";

/** A stream of a plain clip: 720p landscape, H.264, ten seconds; and what is different about it. */
export function pictureOf(changes: Partial<ProbedStream> = {}): ProbedStream {
  return {
    index: 0,
    type: "video",
    codec: "h264",
    width: 1280,
    height: 720,
    pixelFormat: "yuv420p",
    pixelAspect: 1,
    rotation: 0,
    duration: 10,
    start: 0,
    bitrate: 2_000_000,
    profile: "High",
    colorSpace: null,
    colorPrimaries: null,
    colorTransfer: null,
    interlaced: false,
    level: 31,
    frameRate: 30,
    sampleRate: 0,
    channels: 0,
    isPicture: false,
    ...changes,
  };
}

/** Its sound: AAC-LC at 48 kHz in stereo. */
export function soundOf(changes: Partial<ProbedStream> = {}): ProbedStream {
  const none = { width: 0, height: 0, pixelFormat: null, level: 0, frameRate: 0 };
  const aac = { codec: "aac", profile: "LC", sampleRate: 48_000, channels: 2, bitrate: 128_000 };
  return pictureOf({ index: 1, type: "audio", ...none, ...aac, ...changes });
}

export function probeOf(streams: ProbedStream[], changes: Partial<Probe> = {}): Probe {
  return { duration: 10, start: 0, streams, ...changes };
}
