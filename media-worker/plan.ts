import { BadUpload } from "./bad-upload.ts";
import { planColour } from "./colour.ts";
import { hostileVideoOptions, inputFile, knownCodecs, quiet, threads, withoutMetadata, words } from "./ffmpeg-run.ts";
import type { FfmpegRun } from "./ffmpeg-run.ts";
import { planLadder, type Rung } from "./ladder.ts";
import { durationGraceS, tooLong, tooManyPixels, tooManyStreams, type Limits } from "./limits.ts";
import { changingSound, failOnChange, measuredSound, soundBytesPerSecond } from "./plan-sound.ts";
import type { Probe, ProbedStream } from "./probe.ts";

/** What becomes of a video, and the run of FFmpeg that decodes it once and writes all of it. */
export interface Plan {
  run: FfmpegRun;
  rungs: PlannedRung[];
  /** What is heard, or null. */
  sound: ProbedStream | null;
  /** Whether the sound changes its rate or its channels, and has to be measured by a run of its own. */
  soundChanges: boolean;
  looks: Looks;
  /** Seconds; null when the file does not say. */
  duration: number | null;
}

export interface PlannedRung extends Rung {
  /** Its picture, without sound. */
  file: string;
  /** Taken over as it came, since it is what we would have made of it. */
  copied: boolean;
}

/** Small grey pictures to choose the cover from, in threes that follow each other in the video. */
export interface Looks {
  file: string;
  width: number;
  height: number;
}

const maxFps = 60;
export const keyframeSeconds = 2;
/** More than any two seconds have, so that no keyframe comes but where we want it. */
const neverKeyframe = "-g 600 -keyint_min 301";
/**
 * How hard x264 looks for a smaller file: superfast, but with the look ahead of veryfast, which gives the bits to what later pictures refer
 * to: without that there would be up to 65 % more of them. All of veryfast costs nearly twice as much, for 0.1 to 0.3 dB of SSIM.
 */
const effort = "-preset superfast -mbtree 1 -rc-lookahead 10";
const lookPixels = 60_000;
const lookMoments = 32;
/** The picture, and its two followers: a cut or a blend shows in how they differ. */
export const looksPerMoment = 3;
/** Pictures between two moments where the duration is not known. */
const lookStep = 20;
const outputSlackBytes = 10_000_000;

/** What is to be shown and heard of a file. @throws {BadUpload} when it is nothing that we publish. */
export function chooseStreams(probe: Probe, limits: Limits): { video: ProbedStream; sound: ProbedStream | null } {
  if (probe.streams.length > limits.maxStreams) throw tooManyStreams(limits);
  const video = pickVideo(probe, limits);
  if (probe.duration !== null && probe.duration > limits.maxDurationS + durationGraceS) throw tooLong(limits);
  const sound = probe.streams.find(({ type, codec }) => type === "audio" && knownCodecs.audio.has(codec ?? ""));
  return { video, sound: sound ?? null };
}

/**
 * From what a file says of itself to the renditions that it gets and the FFmpeg arguments that make their pictures, in H.264, and a raw file
 * of its sound, while its loudness is measured.
 *
 * @param conforms whether its picture may be taken over as the widest rendition.
 * @param bytes of the file.
 * @param soundChanges whether its sound has been found to change its rate or its channels.
 */
export function planVideo(
  probe: Probe,
  limits: Limits,
  { conforms, bytes, soundChanges = false }: { conforms: boolean; bytes: number; soundChanges?: boolean },
): Plan {
  const { video, sound } = chooseStreams(probe, limits);
  const ladder = planLadder(video, bitrateOf(video, probe, bytes));
  const widest = ladder.at(-1);
  const rungs = ladder.map((rung) =>
    Object.assign(rung, { file: `picture-${rung.name}.mp4`, copied: conforms && rung === widest }),
  );
  const looks = { file: "looks.gray", ...lookSize(rungs) };
  const duration = probe.duration ?? limits.maxDurationS;
  const mostBitrate = Math.max(soundBytesPerSecond * 8, ...rungs.map(({ maxBitrate }) => 1.5 * maxBitrate));
  const copiedBytes = conforms ? bytes : 0;
  return {
    run: {
      inputs: [
        {
          file: inputFile,
          options: [
            ...quiet,
            ...words(`-stats -threads ${threads}`),
            ...(soundChanges ? [] : failOnChange),
            ...hostileVideoOptions(limits.maxPixels),
            // A second more than allowed, so that a file which is longer than it says shows itself in the result.
            ...words(`-t ${limits.maxDurationS + 1}`),
          ],
        },
      ],
      filter: graph(video, probe, rungs, looks),
      outputs: [
        ...rungs.map((rung) => ({ file: rung.file, options: pictureOptions(rung, video, conforms) })),
        { file: looks.file, options: words(`-map [look] -fps_mode passthrough ${lookFrames} -f rawvideo`) },
        ...(sound ? [soundChanges ? changingSound(sound) : measuredSound(sound)] : []),
      ],
      timeLimitMs: runTimeLimitMs(probe.duration, limits),
      maxOutputBytes: Math.min(
        limits.maxOutputBytes,
        Math.ceil(outputSlackBytes + copiedBytes + (duration * mostBitrate) / 8),
      ),
    },
    rungs,
    sound,
    soundChanges,
    looks,
    duration: probe.duration,
  };
}

/** A timer of more milliseconds than this would end at once. */
const longestTimerMs = 2 ** 31 - 1;

/** How long a run over a whole video may take. @param duration seconds, or null when it is not known. */
export function runTimeLimitMs(duration: number | null, { maxRunS, maxRunSPerSecond, maxDurationS }: Limits): number {
  return Math.min(longestTimerMs, Math.round(1000 * (maxRunS + (duration ?? maxDurationS) * maxRunSPerSecond)));
}

/** Bits a second of the picture, from the container or, at most, from the size of the whole file. */
export function bitrateOf(video: ProbedStream, probe: Probe, bytes: number): number | null {
  const duration = video.duration ?? probe.duration;
  return video.bitrate ?? (duration === null ? null : (bytes * 8) / duration);
}

const lookFrames = `-frames:v ${lookMoments * looksPerMoment}`;

function pickVideo(probe: Probe, limits: Limits): ProbedStream {
  const videos = probe.streams.filter((stream) => stream.type === "video" && !stream.isPicture);
  const video = videos.find(
    ({ codec, width, height }) => knownCodecs.video.has(codec ?? "") && width > 0 && height > 0,
  );
  if (video) {
    if (video.width * video.height > limits.maxPixels) throw tooManyPixels(limits);
    return video;
  }
  if (videos.length > 0) throw new BadUpload("The picture in this file is in a format that we do not know.");
  if (probe.streams.some((stream) => stream.type === "audio")) {
    throw new BadUpload("There is only sound in this file, no picture.");
  }
  throw new BadUpload("There is no video in this file.");
}

/**
 * Scales to the widest rendition, brings the colours home, makes each of the others from the next wider one, which is less to read than
 * the widest, and the looks from the widest.
 */
function graph(video: ProbedStream, probe: Probe, rungs: PlannedRung[], looks: Looks): string {
  const encoded = rungs.filter(({ copied }) => !copied);
  const widest = encoded.at(-1) ?? rungs[0];
  if (!widest) throw new Error("there is no rendition to make");
  const shown = [
    ...(video.interlaced ? ["yadif=deint=interlaced"] : []),
    `scale=${widest.width}:${widest.height}:flags=bicubic:out_range=tv`,
    "setsar=1",
    planColour(video).filter,
    ...beginAtZero(video, probe),
  ].join(",");
  const chain = encoded.toReversed().map(({ name, width, height }, at, all) => {
    const scaled = at === 0 ? "[shown]null" : `[from${name}]scale=${width}:${height}:flags=bicubic,setsar=1`;
    const next = all[at + 1];
    return next ? `${scaled},split[to${name}][from${next.name}]` : `${scaled}[to${name}]`;
  });
  const every = probe.duration === null ? lookStep : momentStep(probe.duration, video.frameRate);
  // Only what was added here is printed: what a picture itself brings along may look like anything.
  const look =
    `[all]select='lt(mod(n,${every}),${looksPerMoment})',scale=${looks.width}:${looks.height}:flags=area,` +
    "format=gray,metadata=mode=add:key=look:value=1,metadata=mode=print:key=look:file=-[look]";
  const split = encoded.length > 0 ? "split[all][shown]" : "null[all]";
  return [`[0:${video.index}]${shown},${split}`, ...chain, look].join(";");
}

/** Where the sound begins first, the first picture is shown from then on: players do not agree on what else to show. */
function beginAtZero({ start }: ProbedStream, probe: Probe): string[] {
  const lateS = start === null ? 0 : start - probe.start;
  return lateS > 0.005 ? [`setpts='if(eq(N,0)*lt(T,${(lateS + 1).toFixed(3)}),0,PTS)'`] : [];
}

function momentStep(duration: number, frameRate: number): number {
  return Math.max(looksPerMoment, Math.ceil((duration * Math.min(frameRate || 30, 120)) / lookMoments));
}

function lookSize(rungs: PlannedRung[]): { width: number; height: number } {
  const [{ width, height } = { width: 2, height: 2 }] = rungs;
  const scale = Math.min(1, Math.sqrt(lookPixels / (width * height)));
  return { width: Math.max(2, Math.round(width * scale)), height: Math.max(2, Math.round(height * scale)) };
}

function pictureOptions(rung: PlannedRung, video: ProbedStream, conforms: boolean): string[] {
  const file = [...withoutMetadata, ...words("-f mp4")];
  // Type 6 is supplemental information, in which cameras write what they like.
  if (rung.copied) return [...words(`-map 0:${video.index} -c:v copy -bsf:v filter_units=remove_types=6`), ...file];
  const { space, primaries, transfer } = planColour(video).tags;
  const keyframes = conforms ? "source" : `expr:gte(t,n_forced*${keyframeSeconds})`;
  return [
    ...words(`-map [to${rung.name}] -c:v libx264 -profile:v high ${effort} -threads ${threads}`),
    ...words(`-crf ${rung.crf} -maxrate ${rung.maxBitrate} -bufsize ${2 * rung.maxBitrate}`),
    ...words(`-fps_mode vfr -fpsmax ${maxFps} ${neverKeyframe} -force_key_frames ${keyframes}`),
    ...words(`-colorspace ${space} -color_primaries ${primaries} -color_trc ${transfer} -color_range tv`),
    ...file,
  ];
}
