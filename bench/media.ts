import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createFfmpeg, type Ffmpeg } from "@flick/media-worker/ffmpeg.ts";
import { videoFormats, type FfmpegRun } from "@flick/media-worker/ffmpeg-run.ts";
import { defaultLimits } from "@flick/media-worker/limits.ts";
import { makeVideo, type MadeFiles } from "@flick/media-worker/make-video.ts";

import { separateCommands } from "./media-separately.ts";
import { makePhoneClip, type PhoneClip } from "./phone-clip.ts";

/**
 * What the media worker adds to FFmpeg, and what one decoding run saves: `bun bench/media.ts [rounds]`.
 *
 * Rounds alternate between the worker and its baselines, and the least of each counts, because other work on the machine only ever
 * adds to seconds; seconds of processor time, of this process and its children, hardly feel it. No storage and no network are involved.
 * The worker's FFmpeg runs without its sandbox here, whose processes do not tell what time they took; what the sandbox adds to a run is
 * measured by itself.
 */
const rounds = Math.max(1, Number(process.argv[2]) || 3);

const clips: PhoneClip[] = [
  { width: 720, height: 1280, seconds: 15, bitrate: 10_000_000 },
  { width: 1080, height: 1920, seconds: 15, bitrate: 16_000_000 },
];
const limitMs = 600_000;
const probes = 20;
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

async function measure(clip: PhoneClip): Promise<void> {
  const file = await makePhoneClip(dir, clip);
  const best = { worker: never, runs: never, decoding: never, separate: never };
  let fenced = Infinity;
  let made: MadeFiles | null = null;
  for (let round = 0; round < rounds; round++) {
    const work = join(dir, `work-${clip.width}-${round}`);
    const spy = recording();
    best.worker = least(best.worker, await timed(async () => (made = await makeIn(work, file, spy.ffmpeg))));
    fenced = Math.min(fenced, spy.times()[0] ?? Infinity);
    // In a folder of its own: to write over files that are there costs less than to make them.
    const fresh = join(dir, `bare-${clip.width}-${round}`);
    await mkdir(fresh);
    await copyFile(file, join(fresh, "input"));
    best.decoding = least(best.decoding, await timed(() => bareRun(fresh, spy.runs()[0])));
    await rm(fresh, { recursive: true, force: true });
    best.runs = least(best.runs, await timed(() => spy.again((run) => bareRun(work, run))));
    best.separate = least(best.separate, await timed(() => separately(work, spy.runs(), made)));
    await rm(work, { recursive: true, force: true });
  }
  const { width, height, seconds } = clip;
  print(`${seconds} s of ${width}x${height}`, made, { ...best, fenced: { ms: fenced, cpuMs: 0 } });
  await measureSandbox(file);
}

/** A probe is the shortest thing that runs: what is put around it shows best. */
async function measureSandbox(file: string): Promise<void> {
  const times = { none: [] as number[], bubblewrap: [] as number[] };
  const work = join(dir, "sandbox");
  await mkdir(work, { recursive: true });
  await copyFile(file, join(work, "input"));
  const fenced = {
    none: createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe", sandbox: "none" }),
    bubblewrap: createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" }),
  };
  const { why } = fenced.bubblewrap.fence;
  if (why) return void process.stdout.write(`  no sandbox here: ${why}\n`);
  for (let at = 0; at < probes; at++) {
    for (const sandbox of ["none", "bubblewrap"] as const) {
      const start = performance.now();
      const signal = AbortSignal.timeout(limitMs);
      await fenced[sandbox].probe(work, "input", { maxPixels: 1e8, formats: videoFormats, signal });
      times[sandbox].push(performance.now() - start);
    }
  }
  const [none, bubblewrap] = [Math.min(...times.none), Math.min(...times.bubblewrap)].map(Math.round);
  process.stdout.write(`  a probe: ${none} ms, in the sandbox ${bubblewrap} ms, best of ${probes}\n`);
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
  await copyFile(file, join(work, "input"));
  const inputBytes = Bun.file(join(work, "input")).size;
  const signal = AbortSignal.timeout(limitMs);
  return makeVideo({ ffmpeg, dir: work, limits: defaultLimits, inputBytes, signal }, () => {});
}

/** The worker's FFmpeg, and what it was asked to do. */
function recording() {
  const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe", sandbox: "none" });
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
    runs: () => done.map(({ run }) => run),
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

async function separately(work: string, runs: readonly FfmpegRun[], made: MadeFiles | null): Promise<void> {
  if (!made) throw new Error("the worker made nothing");
  for (const args of separateCommands(runs, made)) await spawn(work, ["-nostdin", "-v", "error", ...args]);
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
