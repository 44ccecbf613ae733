import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createFfmpeg, type Ffmpeg } from "@flick/media-worker/ffmpeg.ts";
import type { FfmpegRun } from "@flick/media-worker/ffmpeg-run.ts";
import { defaultLimits } from "@flick/media-worker/limits.ts";
import { makeVideo, type MadeFiles } from "@flick/media-worker/make-video.ts";

/**
 * What the media worker adds to FFmpeg, and what one decoding run saves: `bun bench/media.ts [rounds]`.
 *
 * Rounds alternate between the worker and its baselines, and the least of each counts, because other work on the machine only ever
 * adds to seconds; seconds of processor time, of this process and its children, hardly feel it. No storage and no network are involved.
 */
const rounds = Math.max(1, Number(process.argv[2]) || 3);

/** As a phone writes it: steady noise in the picture, 30 a second, a keyframe a second, sound at 44.1 kHz. */
const clips = [
  { name: "15 s of 720x1280", size: "720x1280", bitrate: "6M" },
  { name: "15 s of 1080x1920", size: "1080x1920", bitrate: "12M" },
];
const seconds = 15;
const x264 = "-c:v libx264 -profile:v high -preset veryfast -threads 2 -fps_mode vfr -g 600 -keyint_min 301";
const aac = "-c:a aac -b:a 128k -ar 48000 -ac 2";
const limitMs = 600_000;
/** Linux counts processor time for programs in hundredths of a second. */
const msPerTick = 10;

interface Taken {
  ms: number;
  cpuMs: number;
}

const never: Taken = { ms: Infinity, cpuMs: Infinity };

const dir = await mkdtemp(join(tmpdir(), "flick-bench-media-"));
try {
  for (const clip of clips) await measure(clip);
} finally {
  await rm(dir, { recursive: true, force: true });
}

async function measure({ name, size, bitrate }: (typeof clips)[number]): Promise<void> {
  const file = `${size}.mp4`;
  const picture = `testsrc2=size=${size}:rate=30,noise=alls=8:allf=t,format=yuv420p`;
  const encoded = `-c:v libx264 -preset veryfast -b:v ${bitrate} -g 30 -c:a aac -b:a 128k`;
  await bare(dir, `-f lavfi -i ${picture} -f lavfi -i anoisesrc=c=pink:a=0.2:r=44100 -t ${seconds} ${encoded} ${file}`);

  const best = { worker: never, runs: never, decoding: never, separate: never };
  let fenced = Infinity;
  let made: MadeFiles | null = null;
  for (let round = 0; round < rounds; round++) {
    const work = join(dir, `work-${size}-${round}`);
    const spy = recording();
    best.worker = least(best.worker, await timed(async () => (made = await makeIn(work, file, spy.ffmpeg))));
    fenced = Math.min(fenced, spy.times()[0] ?? Infinity);
    best.decoding = least(best.decoding, await timed(() => bareRun(work, spy.first())));
    best.runs = least(best.runs, await timed(() => spy.again((run) => bareRun(work, run))));
    best.separate = least(best.separate, await timed(() => separately(work, made)));
    await rm(work, { recursive: true, force: true });
  }
  print(name, made, { ...best, fenced: { ms: fenced, cpuMs: 0 } });
}

function print(name: string, made: MadeFiles | null, best: Record<string, Taken>): void {
  const { worker = never, runs = never, decoding = never, fenced = never, separate = never } = best;
  const s = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  const both = ({ ms, cpuMs }: Taken) => `${s(ms)} (processor ${s(cpuMs)})`;
  const ratios = (one: Taken, other: Taken) =>
    `${(one.ms / other.ms).toFixed(2)} (processor ${(one.cpuMs / other.cpuMs).toFixed(2)})`;
  process.stdout.write(
    `${name}: ${made?.renditions.map(({ width }) => width).join(", ")}, best of ${rounds}\n` +
      `  the run that decodes: in the worker ${s(fenced.ms)}, bare with the same arguments ${s(decoding.ms)}: ${(fenced.ms / decoding.ms).toFixed(2)}\n` +
      `  the whole job: worker ${both(worker)}, all its runs bare ${both(runs)}: ${ratios(worker, runs)}\n` +
      `  the same by a command for each thing: ${both(separate)}: ${ratios(worker, separate)}\n`,
  );
}

async function makeIn(work: string, file: string, ffmpeg: Ffmpeg): Promise<MadeFiles> {
  await mkdir(work, { recursive: true });
  await copyFile(join(dir, file), join(work, "input"));
  const inputBytes = Bun.file(join(work, "input")).size;
  const signal = AbortSignal.timeout(limitMs);
  return makeVideo({ ffmpeg, dir: work, limits: defaultLimits, inputBytes, signal }, () => {});
}

/** The worker's FFmpeg, and what it was asked to do. */
function recording() {
  const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });
  const done: { run: FfmpegRun; from: number; to: number }[] = [];
  return {
    ffmpeg: {
      ...ffmpeg,
      async run(...args: Parameters<Ffmpeg["run"]>) {
        const entry = { run: args[1], from: performance.now(), to: Infinity };
        done.push(entry);
        const output = await ffmpeg.run(...args);
        entry.to = performance.now();
        return output;
      },
    },
    times: () => done.map(({ from, to }) => to - from),
    first: () => done[0]?.run,
    /** Runs them again in the same order: each waits for those that had ended when it began. */
    async again(run: (one: FfmpegRun) => Promise<void>): Promise<void> {
      const running = new Map<FfmpegRun, Promise<void>>();
      for (const one of done) {
        const before = done.filter(({ to }) => to <= one.from).flatMap((other) => running.get(other.run) ?? []);
        running.set(
          one.run,
          Promise.all(before).then(() => run(one.run)),
        );
      }
      await Promise.all(running.values());
    },
  };
}

/** FFmpeg with the arguments of a run, without fence, progress or deadline. */
async function bareRun(work: string, run: FfmpegRun | undefined): Promise<void> {
  if (!run) throw new Error("the worker ran nothing");
  const inputs = run.inputs.flatMap(({ file, options }) => [...options, "-i", file]);
  const filter = run.filter === null ? [] : ["-filter_complex", run.filter];
  await spawn(work, [...inputs, ...filter, ...run.outputs.flatMap(({ file, options }) => [...options, file])]);
}

/** Loudness, each rendition with its sound, its stream, a look at every part for the cover, the cover, and the preview. */
async function separately(work: string, made: MadeFiles | null): Promise<void> {
  const level = "aresample=48000,volume=2dB";
  await bare(work, "-i input -map 0:a -af aresample=48000,ebur128=peak=true:framelog=verbose -f null -");
  for (const { width, height } of made?.renditions ?? []) {
    const [crf, max] = width === 540 ? [24, 1200] : width === 720 ? [23, 2500] : [23, 5000];
    const rate = `-crf ${crf} -maxrate ${max}k -bufsize ${2 * (max ?? 0)}k -force_key_frames expr:gte(t,n_forced*2)`;
    const picture = `-vf scale=${width}:${height}:flags=bicubic,setsar=1,format=yuv420p ${x264} ${rate}`;
    await bare(work, `-i input ${picture} -af ${level} ${aac} -movflags +faststart s${width}.mp4`);
    const hls =
      "-f hls -hls_segment_type fmp4 -hls_flags single_file -hls_playlist_type vod -hls_list_size 0 -hls_time 2";
    await bare(work, `-i s${width}.mp4 -c copy ${hls} s${width}.m3u8`);
  }
  await bare(
    work,
    "-i input -map 0:v -vf select='lt(mod(n,15),3)',scale=184:326:flags=area,format=gray -fps_mode passthrough -f rawvideo s.gray",
  );
  for (const width of [360, 720]) {
    await bare(work, `-ss 5 -i input -frames:v 1 -vf scale=${width}:-2 -c:v libwebp -quality 80 s${width}.webp`);
    await bare(work, `-ss 5 -i input -frames:v 1 -vf scale=${width}:-2 -pix_fmt yuvj420p -q:v 3 s${width}.jpg`);
  }
  await bare(
    work,
    "-ss 4 -t 3 -i input -an -vf fps=8,scale=240:-2 -c:v libwebp_anim -loop 0 -quality 45 -compression_level 1 s.webp",
  );
}

async function bare(work: string, args: string): Promise<void> {
  await spawn(work, ["-nostdin", "-v", "error", ...args.split(" ")]);
}

async function spawn(cwd: string, args: string[]): Promise<void> {
  // As nice as the worker's own.
  const child = Bun.spawn(["nice", "-n", "10", "ffmpeg", "-y", ...args], {
    cwd,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: limitMs,
  });
  const [stderr] = await Promise.all([child.stderr.text(), child.exited]);
  if (child.exitCode !== 0) throw new Error(`ffmpeg ${args.join(" ")} failed: ${stderr}`);
}

async function timed(work: () => Promise<unknown>): Promise<Taken> {
  const start = performance.now();
  const cpuStart = await processorMs();
  await work();
  return { ms: performance.now() - start, cpuMs: (await processorMs()) - cpuStart };
}

function least(one: Taken, other: Taken): Taken {
  return { ms: Math.min(one.ms, other.ms), cpuMs: Math.min(one.cpuMs, other.cpuMs) };
}

/** Processor time of this process and of those of its children that have ended (proc(5): utime, stime, cutime, cstime). */
async function processorMs(): Promise<number> {
  const stat = await Bun.file("/proc/self/stat").text();
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return ticks * msPerTick;
}
