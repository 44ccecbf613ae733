import { inputFile, quiet, withoutMetadata, words, type FfmpegRun } from "./ffmpeg-run.ts";
import type { Limits } from "./limits.ts";
import type { ProbedStream } from "./probe.ts";

/** How loud something is, by ITU-R BS.1770. */
export interface Loudness {
  /** Integrated, in LUFS; null where nothing is loud or long enough to be measured. */
  lufs: number | null;
  /** True peak in dBTP; null for silence. */
  peak: number | null;
}

/** How the sound is made as loud as that of all other videos. */
export interface Leveling {
  /** In decibels. */
  gain: number;
  /** Nothing may become louder than this, in dBTP before it is encoded; null where nothing would. */
  ceiling: number | null;
}

/** Stereo at 48 kHz in 32-bit floats, so that nothing is clipped before it is turned down. */
const rawSoundFile = "sound.wav";
const changingFile = "sound.nut";
export const soundFile = "sound.m4a";
export const soundBytesPerSecond = 48_000 * 2 * 4;

const targetLufs = -14;
const maxPeak = -1;
/** AAC gives back peaks that are a little higher than those it was given. */
const encoderOvershoot = 0.7;
const firstCeiling = maxPeak - 1.2;
/** A limiter that takes more than this away does more harm than a peak. */
const lowestCeiling = -9;
/** What is quieter than the target by more than this stays quieter: it would be noise that is turned up. */
const maxGain = 20;
/** Below this there is only noise. */
const quietestLufs = -60;
const tolerance = 1;
/** Bits a second; within these bounds it gets what the source has, more where its codec says more with a bit. */
const maxBitrate = 128_000;
const minBitrate = 64_000;
const efficientCodecs = new Set(["opus", "vorbis"]);
const maxCopiedBitrate = 200_000;

/** Silence where the sound begins late or has gaps, so that it stays within 30 ms of the picture. */
const clock = "aresample=48000:async=1:first_pts=0:min_hard_comp=0.03,aformat=channel_layouts=stereo";
const measure = (file: string) => `ebur128=metadata=1:peak=true:framelog=verbose,ametadata=mode=print:file=${file}`;

/** The output that holds the sound as it came, on the clock of the video, and its loudness. */
export function measuredSound({ index }: ProbedStream): { file: string; options: string[] } {
  const options = ["-map", `0:${index}`, "-af", `${clock},${measure(loudnessFiles.before)}`];
  return { file: rawSoundFile, options: [...options, ...words("-c:a pcm_f32le -bitexact -f wav")] };
}

/**
 * The filters of {@link measuredSound} cannot go on when the sound changes its rate or its channels: they would begin anew, at zero.
 * With this option the run fails then, and {@link failedOnChange} tells.
 */
export const failOnChange = words("-reinit_filter:a 0");

export function failedOnChange(stderr: string): boolean {
  return stderr.includes("Changing audio frame properties on the fly is not supported");
}

/** The output that holds a sound that changes, in one rate and with the times that it had; {@link measureChanging} comes next. */
export function changingSound({ index }: ProbedStream): { file: string; options: string[] } {
  const same = "aformat=sample_fmts=flt:sample_rates=48000:channel_layouts=stereo";
  const options = ["-map", `0:${index}`, "-af", same];
  return { file: changingFile, options: [...options, ...words("-c:a pcm_f32le -bitexact -f nut")] };
}

/** Makes of {@link changingSound} what {@link measuredSound} would have been. */
export function measureChanging(sound: ProbedStream, limits: Limits, timeLimitMs: number): FfmpegRun {
  return {
    inputs: [{ file: changingFile, options: [...quiet, ...words("-protocol_whitelist file -format_whitelist nut")] }],
    filter: null,
    outputs: [measuredSound({ ...sound, index: 0 })],
    timeLimitMs,
    maxOutputBytes: limits.maxOutputBytes,
  };
}

/** Where the runs leave what they measured: of the sound as it came, and as it has become. */
export const loudnessFiles = { before: "loudness.txt", after: "leveled.txt" };

/** @param text what ametadata printed, or its end. */
export function parseLoudness(text: string): Loudness {
  const last = (key: string) =>
    Number(
      text
        .match(new RegExp(`^lavfi\\.r128\\.${key}=(.+)$`, "gm"))
        ?.at(-1)
        ?.split("=")[1],
    );
  const lufs = last("I");
  const peak = 20 * Math.log10(last("true_peak"));
  return { lufs: lufs > -70 ? lufs : null, peak: Number.isFinite(peak) ? peak : null };
}

/** Towards the target; noise and silence stay as they are, and nothing gets peaks that would be cut off. */
export function planLeveling({ lufs, peak }: Loudness): Leveling {
  const gain = lufs === null || lufs < quietestLufs ? 0 : Math.min(maxGain, targetLufs - lufs);
  const isLimited = (peak ?? -Infinity) + gain > maxPeak - encoderOvershoot;
  return { gain: round(gain), ceiling: isLimited ? firstCeiling : null };
}

/**
 * The next try, where the limiter took too much away or a peak came back from the encoder; null when it is near enough.
 * @param made what was measured of the sound as it was encoded.
 */
export function correctLeveling({ gain, ceiling }: Leveling, made: Loudness): Leveling | null {
  const excess = Math.max(0, (made.peak ?? -Infinity) - maxPeak);
  const lack = ceiling === null || made.lufs === null || gain >= maxGain ? 0 : targetLufs - made.lufs;
  if (excess === 0 && lack <= tolerance / 2) return null;
  const lower = excess > 0 ? Math.max(lowestCeiling, (ceiling ?? firstCeiling + 0.5) - excess - 0.3) : ceiling;
  return { gain: round(Math.min(maxGain, gain + Math.max(0, lack))), ceiling: lower === null ? null : round(lower) };
}

/** May a sound be worth taking over? Cheap to tell, before its loudness is known. */
export function soundMayConform({ codec, profile, sampleRate, channels, bitrate: own }: ProbedStream): boolean {
  const isOurs = codec === "aac" && profile === "LC" && sampleRate === 48_000 && channels === 2;
  return isOurs && own !== null && own <= maxCopiedBitrate;
}

/**
 * May the sound be taken over as it came?
 * @param continuous whether its packets follow each other without a gap from the beginning of the video on.
 */
export function soundConforms(sound: ProbedStream, { lufs, peak }: Loudness, continuous: boolean): boolean {
  const isLoudEnough = lufs !== null && Math.abs(lufs - targetLufs) <= tolerance && (peak ?? 0) <= maxPeak;
  return continuous && isLoudEnough && soundMayConform(sound);
}

/** Makes {@link soundFile}, AAC-LC, from the raw sound. */
export function planSound(
  source: ProbedStream,
  { gain, ceiling }: Leveling,
  limits: Limits,
  timeLimitMs: number,
): FfmpegRun {
  const wanted = (source.bitrate ?? maxBitrate) * (efficientCodecs.has(source.codec ?? "") ? 1.5 : 1);
  const bitrate = Math.round(Math.min(maxBitrate, Math.max(minBitrate, wanted)));
  // At four times the rate, the peaks between two samples are seen too.
  const filter = [
    `volume=${gain}dB`,
    ...(ceiling === null
      ? []
      : [
          "aresample=192000",
          `alimiter=limit=${(10 ** (ceiling / 20)).toFixed(4)}:attack=5:release=80:level=false`,
          "aresample=48000",
        ]),
  ].join(",");
  const encoded = words(`-c:a aac -profile:a aac_low -b:a ${bitrate} -ar 48000 -ac 2`);
  return {
    inputs: [{ file: rawSoundFile, options: [...quiet, ...words("-protocol_whitelist file -format_whitelist wav")] }],
    filter: null,
    outputs: [
      { file: soundFile, options: ["-map", "0:0", "-af", filter, ...encoded, ...withoutMetadata, "-f", "mp4"] },
    ],
    timeLimitMs,
    maxOutputBytes: limits.maxOutputBytes,
  };
}

/** Measures {@link soundFile}. */
export function measureSound(limits: Limits, timeLimitMs: number): FfmpegRun {
  const trusted = words("-protocol_whitelist file -format_whitelist mov,mp4,m4a,3gp,3g2,mj2");
  return {
    inputs: [{ file: soundFile, options: [...quiet, ...trusted] }],
    filter: null,
    outputs: [{ file: "-", options: ["-map", "0:0", "-af", measure(loudnessFiles.after), "-f", "null"] }],
    timeLimitMs,
    maxOutputBytes: limits.maxOutputBytes,
  };
}

/** Takes the sound over as it came. @param options how the upload is read. */
export function copySound({ index }: ProbedStream, options: string[], limits: Limits, timeLimitMs: number): FfmpegRun {
  return {
    inputs: [{ file: inputFile, options: [...quiet, ...options] }],
    filter: null,
    outputs: [{ file: soundFile, options: [...words(`-map 0:${index} -c copy`), ...withoutMetadata, "-f", "mp4"] }],
    timeLimitMs,
    maxOutputBytes: limits.maxOutputBytes,
  };
}

const round = (decibels: number) => Math.round(decibels * 100) / 100;
