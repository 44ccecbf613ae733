import { mayConform, pictureConforms, type Packet } from "./conform.ts";
import { pictureChanges } from "./cover.ts";
import { FfmpegFailure, type FfmpegOutput } from "./ffmpeg.ts";
import { inputFile, videoFormats, type FfmpegRun } from "./ffmpeg-run.ts";
import type { MakeOptions } from "./make-video.ts";
import * as sound from "./plan-sound.ts";
import { planVideo, runTimeLimitMs, type chooseStreams, type Plan } from "./plan.ts";
import type { Probe } from "./probe.ts";
import { blame, whyUndecodable } from "./verdict.ts";

interface Decoded {
  /** The one that was carried out in the end. */
  plan: Plan;
  output: FfmpegOutput;
  /** Of the upload, where they had to be known. */
  packets: Packet[];
}

type Chosen = ReturnType<typeof chooseStreams>;
type Follow = (doneMs: number) => void;

/**
 * The run that decodes. It is carried out again where it turns out that a picture cannot be taken over as it is, or that the sound
 * changes its rate or its channels on the way, which only few files make necessary.
 *
 * @throws {BadUpload} when the file is at fault.
 */
export async function decodeVideo(
  options: MakeOptions,
  source: Probe,
  chosen: Chosen,
  follow: Follow,
): Promise<Decoded> {
  const { limits, inputBytes } = options;
  const packets = await readPackets(options, source, chosen);
  const isLight = packets.length > 0 && mayConform(chosen.video, source, inputBytes);
  const conforms = isLight && pictureConforms(chosen.video, source, packets);
  const plan = (changes: { conforms: boolean; soundChanges?: boolean }) =>
    planVideo(source, limits, { ...changes, bytes: inputBytes });
  const decoded = await decode(options, (soundChanges) => plan({ conforms, soundChanges }), follow);
  // What FFmpeg complains about should not be handed on to players, nor should pictures of two sizes.
  if (!conforms || (decoded.output.stderr.trim() === "" && !pictureChanges(decoded.output.stdout))) {
    return { ...decoded, packets };
  }
  const { soundChanges } = decoded.plan;
  return { ...(await decode(options, () => plan({ conforms: false, soundChanges }), follow)), packets };
}

/** @param planned for a sound that changes, or for one of which that is not known yet. */
async function decode(
  options: MakeOptions,
  planned: (soundChanges: boolean) => Plan,
  follow: Follow,
): Promise<Omit<Decoded, "packets">> {
  const { ffmpeg, dir, limits, signal } = options;
  let plan = planned(false);
  try {
    if (!plan.soundChanges) return { plan, output: await ffmpeg.run(dir, plan.run, signal, follow) };
  } catch (error) {
    const changes = error instanceof FfmpegFailure && sound.failedOnChange(error.output.stderr);
    if (!changes) throw blame(error, (failure) => whyUndecodable(failure, plan.run, limits));
    plan = planned(true);
  }
  const output = await runHostile(options, plan.run, follow);
  if (plan.sound) {
    const timeLimitMs = runTimeLimitMs(plan.duration, limits);
    await runHostile(options, sound.measureChanging(plan.sound, limits, timeLimitMs));
  }
  return { plan, output };
}

/** Runs what reads the upload, or what came from it unchecked. */
export async function runHostile(
  { ffmpeg, dir, limits, signal }: MakeOptions,
  planned: FfmpegRun,
  onProgress?: Follow,
): Promise<FfmpegOutput> {
  try {
    return await ffmpeg.run(dir, planned, signal, onProgress);
  } catch (error) {
    throw blame(error, (failure) => whyUndecodable(failure, planned, limits));
  }
}

/** Only where it may save an encoding; a file whose packets cannot be listed is none of those. */
async function readPackets(
  { ffmpeg, dir, limits, inputBytes, signal }: MakeOptions,
  source: Probe,
  chosen: Chosen,
): Promise<Packet[]> {
  const pictureMay = mayConform(chosen.video, source, inputBytes);
  const soundMay = chosen.sound !== null && sound.soundMayConform(chosen.sound);
  if (!pictureMay && !soundMay) return [];
  const asked = { maxPixels: limits.maxPixels, formats: videoFormats, signal };
  return ffmpeg.packets(dir, inputFile, asked).catch(() => {
    signal.throwIfAborted();
    return [];
  });
}
