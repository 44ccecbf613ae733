import { join } from "node:path";

import { lookTimes } from "../cover.ts";
import type { MadeFiles } from "../make-video.ts";
import { parseLoudness } from "../plan-sound.ts";
import { boxesOf } from "./boxes.ts";
import type { Ready } from "./entry.ts";

/** What FFmpeg's programs, which are not fenced in here, find in a file. */
interface Found {
  format: { duration: string; tags?: Record<string, string> };
  streams: FoundStream[];
  packets: { codec_type: string; pts_time: string; flags: string }[];
}

interface FoundStream {
  codec_type: string;
  codec_name: string;
  profile: string;
  width: number;
  height: number;
  pix_fmt: string;
  sample_aspect_ratio?: string;
  avg_frame_rate: string;
  sample_rate: string;
  channels: number;
  start_time: string;
  side_data_list?: object[];
  tags?: Record<string, string>;
}

const maxDriftMs = 40;
const durationSlackMs = 50;
const startSlackS = 0.05;
const keyframeS = 2.1;
const growthGrace = 1.1;
const targetLufs = -14;
const lufsSlack = 1;
const maxPeak = -1;
const programLimitMs = 120_000;

/** Compares what became of a file with what was expected; tells every difference in a sentence. */
export async function findFaults(
  dir: string,
  made: MadeFiles,
  expect: Ready,
  { bytes, signal }: { bytes: number; signal: AbortSignal },
): Promise<string[]> {
  const faults: string[] = [];
  const check = (holds: boolean, fault: string) => void (holds || faults.push(fault));
  const sizes = made.renditions.map(({ width, height }) => `${width}x${height}`).join(" ");
  check(sizes === expect.renditions.join(" "), `renditions ${sizes} instead of ${expect.renditions.join(" ")}`);
  if (expect.copied) {
    check(
      made.copied.join() === expect.copied.join(),
      `copied: ${made.copied.join()} instead of ${expect.copied.join()}`,
    );
  }
  const keyframes: string[] = [];
  for (const { file, width, height } of made.renditions) {
    const found = await inspect(dir, file, signal);
    for (const fault of oddities(found, expect)) check(false, `${file}: ${fault}`);
    const video = found.streams.find(({ codec_type }) => codec_type === "video");
    check(video?.width === width && video.height === height, `${file}: another size inside`);
    const rate = rateOf(video);
    const slack = Math.max(durationSlackMs, rate > 0 ? 1000 / rate : 0) + (expect.durationSlackMs ?? 0);
    const durationMs = Number(found.format.duration) * 1000;
    check(
      Math.abs(durationMs - expect.durationMs) <= slack + 1,
      `${file}: lasts ${durationMs} ms instead of ${expect.durationMs}`,
    );
    check(rate <= (expect.maxFps ?? 60) + 0.5, `${file}: ${rate} pictures a second`);
    keyframes.push(
      keyTimes(found)
        .map((time) => time.toFixed(2))
        .join(" "),
    );
    const types = boxesOf(await Bun.file(join(dir, file)).bytes()).map(({ type }) => type);
    check(types.indexOf("moov") < types.indexOf("mdat"), `${file}: its index is behind its data`);
  }
  check(new Set(keyframes).size === 1, `keyframes differ: ${keyframes.join(" | ")}`);
  if (expect.grows === false) {
    const largest = Math.max(...made.renditions.map((rendition) => rendition.bytes));
    check(largest <= bytes * growthGrace, `grew from ${bytes} to ${largest} bytes`);
  }
  for (const file of [made.play.file, made.master]) faults.push(...(await playFaults(dir, file, expect, signal)));
  if (expect.upright !== false) faults.push(...(await cornerFaults(dir, made.cover.file, signal)));
  return faults;
}

function oddities({ format, streams, packets }: Found, expect: Ready): string[] {
  const odd: string[] = [];
  const check = (holds: boolean, what: string) => void (holds || odd.push(what));
  const video = streams.find(({ codec_type }) => codec_type === "video");
  const audio = streams.find(({ codec_type }) => codec_type === "audio");
  check(streams.length === (expect.sound === "none" ? 1 : 2), `${streams.length} streams`);
  check(video?.codec_name === "h264" && video.pix_fmt === "yuv420p", `${video?.codec_name} in ${video?.pix_fmt}`);
  check(
    ["High", "Main", "Constrained Baseline", "Baseline"].includes(video?.profile ?? ""),
    `profile ${video?.profile}`,
  );
  check(["1:1", undefined].includes(video?.sample_aspect_ratio), `pixels of ${video?.sample_aspect_ratio}`);
  check((video?.side_data_list ?? []).length === 0, "side data");
  check(Math.abs(Number(video?.start_time)) <= startSlackS, `the picture begins at ${video?.start_time}`);
  if (audio) {
    const is = `${audio.codec_name} ${audio.profile} ${audio.sample_rate} ${audio.channels}`;
    check(is === "aac LC 48000 2", `sound is ${is}`);
    check(Math.abs(Number(audio.start_time)) <= startSlackS, `the sound begins at ${audio.start_time}`);
  }
  const tags = [format.tags, ...streams.map((stream) => stream.tags)].flatMap((all) => Object.entries(all ?? {}));
  const told = tags.filter(([name, value]) => !usualTags.has(name) || /holiday|someone|52\.5|home/.test(value));
  check(told.length === 0, `tells ${JSON.stringify(told)}`);
  const keys = keyTimes({ format, streams, packets });
  const gaps = keys.map((time, at) => time - (keys[at - 1] ?? 0));
  check(
    gaps.every((gap) => gap <= keyframeS),
    `no keyframe for ${Math.max(...gaps)} s`,
  );
  return odd;
}

const usualTags = new Set([
  "major_brand",
  "minor_version",
  "compatible_brands",
  "language",
  "handler_name",
  "vendor_id",
]);

function keyTimes({ packets }: Found): number[] {
  return packets
    .filter(({ codec_type, flags }) => codec_type === "video" && flags.startsWith("K"))
    .map(({ pts_time }) => Number(pts_time));
}

function rateOf(video: FoundStream | undefined): number {
  const [count = 0, seconds = 1] = (video?.avg_frame_rate ?? "").split("/").map(Number);
  return count / seconds || 0;
}

/** Decodes all of a file, and compares when its flash and its beep come, and how loud it is. */
async function playFaults(dir: string, file: string, expect: Ready, signal: AbortSignal): Promise<string[]> {
  const withSound = expect.sound !== "none";
  const look = "scale=8:8:flags=area,format=gray,metadata=mode=add:key=look:value=1,metadata=mode=print:file=-";
  const measured = "ebur128=metadata=1:peak=true:framelog=verbose,ametadata=mode=print:file=check.txt";
  const sound = [
    "-map",
    "0:a",
    "-af",
    `${measured},aresample=8000:async=1:first_pts=0`,
    "-ac",
    "1",
    "-f",
    "s16le",
    "check.pcm",
  ];
  const picture = ["-map", "0:v:0", "-vf", look, "-fps_mode", "passthrough", "-f", "rawvideo", "check.gray"];
  const input = ["-v", "error", "-nostdin", "-y", "-allowed_extensions", "ALL", "-i", file];
  // Only the HLS demuxer knows that option.
  const args = file.endsWith(".m3u8") ? input : input.filter((one) => one !== "-allowed_extensions" && one !== "ALL");
  const { stdout, stderr } = await tool("ffmpeg", dir, [...args, ...picture, ...(withSound ? sound : [])], signal);
  const faults = stderr.trim() === "" ? [] : [`${file}: ${stderr.trim().split("\n")[0]}`];
  if (!withSound) return faults;
  if (expect.flashMs !== undefined) {
    const flash = flashAt(await Bun.file(join(dir, "check.gray")).bytes(), lookTimes(stdout));
    const beep = beepAt(new Int16Array(await Bun.file(join(dir, "check.pcm")).arrayBuffer()));
    if (flash === null || beep === null) faults.push(`${file}: no flash or no beep`);
    else if (Math.abs(flash - beep) > maxDriftMs) faults.push(`${file}: flash at ${flash} ms, beep at ${beep} ms`);
    else if (Math.abs(flash - expect.flashMs) > 2 * maxDriftMs) faults.push(`${file}: flash at ${flash} ms`);
  }
  const { lufs, peak } = parseLoudness(await Bun.file(join(dir, "check.txt")).text());
  if (peak !== null && peak > maxPeak) faults.push(`${file}: peaks of ${peak.toFixed(1)} dBTP`);
  if (expect.sound === "level" && Math.abs((lufs ?? 0) - targetLufs) > lufsSlack) faults.push(`${file}: ${lufs} LUFS`);
  return faults;
}

/** Milliseconds of the first picture that is much brighter than most. */
function flashAt(pixels: Uint8Array, times: readonly number[]): number | null {
  const means = times.map(
    (_, at) => pixels.subarray(at * 64, at * 64 + 64).reduce((sum, value) => sum + value, 0) / 64,
  );
  const usual = means.toSorted((a, b) => a - b)[Math.floor(means.length / 2)] ?? 0;
  const brightest = Math.max(...means);
  if (brightest - usual < 20) return null;
  return times[means.findIndex((mean) => mean > (usual + brightest) / 2)] ?? null;
}

/** Milliseconds at which the sound, at 8 kHz, first gets much louder. */
function beepAt(samples: Int16Array): number | null {
  const window = 40;
  const levels = Array.from({ length: Math.floor(samples.length / window) }, (_, at) =>
    samples.subarray(at * window, (at + 1) * window).reduce((loudest, value) => Math.max(loudest, Math.abs(value)), 0),
  );
  const usual = levels.toSorted((a, b) => a - b)[Math.floor(levels.length / 2)] ?? 0;
  const loudest = Math.max(...levels);
  if (loudest < usual * 1.6) return null;
  return Math.round((levels.findIndex((level) => level > (usual + loudest) / 2) * window) / 8);
}

/** Red and green above, blue and white below, in the four corners of a picture. */
async function cornerFaults(dir: string, file: string, signal: AbortSignal): Promise<string[]> {
  const args = [
    "-v",
    "error",
    "-y",
    "-i",
    file,
    "-vf",
    "scale=16:16:flags=area,format=rgb24",
    "-f",
    "rawvideo",
    "check.rgb",
  ];
  await tool("ffmpeg", dir, args, signal);
  const pixels = await Bun.file(join(dir, "check.rgb")).bytes();
  const at = (x: number, y: number) => {
    const colour = [...pixels.subarray((y * 16 + x) * 3, (y * 16 + x) * 3 + 3)].map((value) =>
      value > 150 ? "1" : value < 110 ? "0" : "?",
    );
    return { "100": "red", "010": "green", "001": "blue", "111": "white" }[colour.join("")] ?? colour.join("");
  };
  const found = [at(1, 1), at(14, 1), at(1, 14), at(14, 14)].join(" ");
  return found === "red green blue white" ? [] : [`${file}: its corners are ${found}`];
}

async function inspect(dir: string, file: string, signal: AbortSignal): Promise<Found> {
  const show = ["-show_format", "-show_streams", "-show_packets", "-of", "json"];
  return JSON.parse((await tool("ffprobe", dir, ["-v", "error", ...show, file], signal)).stdout) as Found;
}

async function tool(program: string, dir: string, args: string[], signal: AbortSignal) {
  const child = Bun.spawn(["nice", "-n", "10", program, ...args], {
    cwd: dir,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: programLimitMs,
    signal,
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  signal.throwIfAborted();
  return { stdout, stderr: child.exitCode === 0 ? stderr : `${program} failed: ${stderr}` };
}
