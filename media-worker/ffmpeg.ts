import { join } from "node:path";
import { promisify } from "node:util";

import fluent from "fluent-ffmpeg";

import { packetEntries, parsePackets, type Packet } from "./conform.ts";
import { hostileInputOptions, type FfmpegRun } from "./ffmpeg-run.ts";
import { parseProbe, probeEntries, type Probe } from "./probe.ts";
import { chooseSandbox, sandboxFailed, signalBehind, type Sandbox, type SandboxChoice } from "./sandbox.ts";

/** Runs FFmpeg's programs on files that nobody vouches for; launch.sh says how they are fenced in. */
export interface Ffmpeg {
  /** What ffprobe says of a file in a folder. */
  probe(dir: string, file: string, options: ProbeOptions): Promise<Probe>;
  /** The packets of all its streams, which are read but not decoded. */
  packets(dir: string, file: string, options: ProbeOptions): Promise<Packet[]>;
  /** @throws when a program or an encoder that every job needs is missing, or the sandbox that was demanded. */
  check(): Promise<void>;
  /** What the programs run in. */
  fence: SandboxChoice;
  /** Carries out a plan in the folder of a job. Its child is gone when this settles. */
  run(dir: string, plan: FfmpegRun, signal: AbortSignal, onProgress?: OnProgress): Promise<FfmpegOutput>;
}

export interface ProbeOptions {
  maxPixels: number;
  formats: string;
  signal: AbortSignal;
}

/** Told about once a second in a run with `-stats`: how much of the video is behind it. */
type OnProgress = (doneMs: number) => void;

export interface FfmpegOutput {
  stdout: string;
  /** Complaints only, of the last {@link keptLines} lines. */
  stderr: string;
}

export class FfmpegFailure extends Error {
  override name = "FfmpegFailure";
  /** `exit`: it gave up by itself. `signal`: it was killed, but not by us. `start`: it could not run at all. */
  readonly kind: "exit" | "signal" | "time limit" | "start";
  readonly output: FfmpegOutput;

  constructor(kind: FfmpegFailure["kind"], message: string, output: FfmpegOutput = { stdout: "", stderr: "" }) {
    super(message);
    this.kind = kind;
    this.output = output;
  }
}

/**
 * Does a killed worker take its FFmpeg with it? By its sandbox, and where launch.sh finds a setpriv that knows parent-death signals;
 * elsewhere the limits on CPU time end a run that nobody waits for.
 */
export function diesWithWorker(sandbox: Sandbox): boolean {
  if (sandbox === "bubblewrap") return true;
  const setpriv = Bun.which("setpriv");
  return setpriv !== null && Bun.spawnSync([setpriv, "--pdeathsig", "KILL", "true"]).success;
}

const launcher = join(import.meta.dir, "launch.sh");
/** Progress takes a line a second. */
const keptLines = 4000;
const probeTimeLimitMs = 30_000;
const probeCpuSeconds = 30;
const maxProbeBytes = 1024 * 1024;
/** Ten minutes of 60 pictures and 47 packets of sound a second take 3 MB. */
const maxPacketsBytes = 16 * 1024 * 1024;
const blockBytes = 512;
/** On a machine that does other things too, they come first. */
const niceness = 10;

/** What the kernel allows a program beside its time and its files; the README describes each. */
export interface Fence {
  /** Names or paths of the programs. */
  ffmpegPath: string;
  ffprobePath: string;
  /** Address space. */
  maxMemoryMiB?: number;
  /** Processes and threads of this user, whatever they are; 0 for no limit. */
  maxProcesses?: number;
  /** `auto`, the default, is bubblewrap where it works. */
  sandbox?: Sandbox | "auto";
}

/** 16 reference frames of 4096 by 4096 pixels, 10 bits in 4:4:4, took 2 GiB. */
export const defaultMemoryMiB = 3072;

export function createFfmpeg(options: Fence): Ffmpeg {
  fluent.setFfmpegPath(launcher);
  const { maxMemoryMiB = defaultMemoryMiB, maxProcesses = 0, sandbox: wanted = "auto" } = options;

  /** The launcher's arguments behind the program. */
  const limited = (maxCpuSeconds: number, maxBytes: number) =>
    [process.pid, maxCpuSeconds, Math.ceil(maxBytes / blockBytes), maxMemoryMiB * 1024, maxProcesses].map(String);
  const chosen = chooseSandbox(wanted, [launcher, options.ffmpegPath, ...limited(probeCpuSeconds, 0)]);
  const fence = (maxCpuSeconds: number, maxBytes: number) => [...limited(maxCpuSeconds, maxBytes), chosen.sandbox];

  // Not by fluent-ffmpeg: its ffprobe has no time limit, cannot be killed, keeps all output in memory, and reads a text form
  // in which a title with line breaks can pass for a stream.
  async function ask(dir: string, file: string, answer: string[], maxBytes: number, asked: ProbeOptions) {
    const { maxPixels, formats, signal } = asked;
    signal.throwIfAborted();
    const input = ["-v", "error", ...hostileInputOptions(maxPixels, formats), "-threads", "1", "-i", file];
    const child = Bun.spawn([launcher, options.ffprobePath, ...fence(probeCpuSeconds, 0), ...input, ...answer], {
      cwd: dir,
      env: { PATH: process.env.PATH },
      // Held open for as long as we live; launch.sh says why. fluent-ffmpeg does the same.
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      timeout: probeTimeLimitMs,
      killSignal: "SIGKILL",
      maxBuffer: maxBytes,
      signal,
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    signal.throwIfAborted();
    if (child.exitCode === 0) return stdout;
    throw failure("ffprobe", child.exitCode, child.signalCode, { stdout: "", stderr });
  }

  return {
    fence: chosen,

    async probe(dir, file, asked) {
      return parseProbe(await ask(dir, file, ["-show_entries", probeEntries, "-of", "json=c=1"], maxProbeBytes, asked));
    },

    async packets(dir, file, asked) {
      return parsePackets(
        await ask(dir, file, ["-show_entries", packetEntries, "-of", "csv=p=0"], maxPacketsBytes, asked),
      );
    },

    async run(dir, plan, signal, onProgress) {
      signal.throwIfAborted();
      const command = fluent({ cwd: dir, stdoutLines: keptLines, niceness });
      plan.inputs.forEach(({ file, options: given }, at) => {
        const launched = at === 0 ? [options.ffmpegPath, ...fence(cpuSeconds(plan), plan.maxOutputBytes)] : [];
        command.input(file).inputOptions(...launched, ...given);
      });
      if (plan.filter !== null) command.complexFilter(plan.filter);
      for (const output of plan.outputs) command.output(output.file).outputOptions(...output.options);
      if (onProgress) {
        command.on("progress", ({ timemark }: { timemark?: string }) => onProgress(milliseconds(timemark)));
      }
      try {
        return await runToEnd(command, plan.timeLimitMs, signal);
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      }
    },

    async check() {
      if (wanted === "bubblewrap" && chosen.why) throw new Error(`bubblewrap cannot be used: ${chosen.why}`);
      const ffprobe = Bun.spawn([options.ffprobePath, "-version"], {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      });
      if ((await ffprobe.exited) !== 0) throw new Error(`${options.ffprobePath} -version failed`);
      const encoders = await promisify(fluent.getAvailableEncoders)().catch((error: unknown) => {
        throw new Error(`${options.ffmpegPath} cannot be used`, { cause: error });
      });
      const missing = ["libx264", "aac", "mjpeg", "libwebp", "libwebp_anim"].filter((name) => !(name in encoders));
      if (missing.length > 0) throw new Error(`${options.ffmpegPath} lacks the encoders ${missing.join(", ")}`);
    },
  };
}

function runToEnd(command: fluent.FfmpegCommand, timeLimitMs: number, signal: AbortSignal): Promise<FfmpegOutput> {
  return new Promise((resolve, reject) => {
    let started = false;
    let late = false;
    const kill = () => void command.kill("SIGKILL");
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, timeLimitMs);
    const settle = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", kill);
    };
    signal.addEventListener("abort", kill);
    command
      // The abort may come while fluent-ffmpeg still prepares and has nothing to kill.
      .once("start", () => {
        started = true;
        if (signal.aborted || late) kill();
      })
      .once("end", (stdout: string | null, stderr: string | null) => {
        settle();
        resolve({ stdout: stdout ?? "", stderr: complaints(stderr) });
      })
      .once("error", (error: Error, stdout?: string | null, stderr?: string | null) => {
        settle();
        const output = { stdout: stdout ?? "", stderr: complaints(stderr) };
        const [, code] = /exited with code (\d+)/.exec(error.message) ?? [];
        const [, killedBy] = /killed with signal (\w+)/.exec(error.message) ?? [];
        if (late) reject(new FfmpegFailure("time limit", `ffmpeg took more than ${timeLimitMs} ms`, output));
        else if (!started || (!code && !killedBy)) reject(new FfmpegFailure("start", error.message));
        else reject(failure("ffmpeg", Number(code), killedBy ?? null, output));
      })
      .run();
  });
}

function failure(
  program: string,
  code: number | null,
  signal: string | number | null,
  output: FfmpegOutput,
): FfmpegFailure {
  const killedBy = signal ?? signalBehind(code ?? 0);
  if (killedBy !== null) return new FfmpegFailure("signal", `${program} was killed by ${killedBy}`, output);
  // What a shell exits with when a program is not there or may not be run.
  if (code === 126 || code === 127 || sandboxFailed(output.stderr))
    return new FfmpegFailure("start", `${program} cannot be started`, output);
  return new FfmpegFailure("exit", `${program} exited with code ${code}`, output);
}

/** Without the lines that tell of progress. */
function complaints(stderr: string | null | undefined): string {
  const lines = (stderr ?? "").split("\n");
  return lines.filter((line) => !/^(frame=|size=)/.test(line.trimStart())).join("\n");
}

/** @param mark `hours:minutes:seconds`, as FFmpeg tells the time. */
function milliseconds(mark = ""): number {
  const [hours = 0, minutes = 0, seconds = 0] = mark.split(":").map(Number);
  const value = Math.round(((hours * 60 + minutes) * 60 + seconds) * 1000);
  return Number.isFinite(value) ? Math.max(0, value) : 0;
}

/** Twice what the threads of the run could use within its time limit: for a run that nobody watches any more. */
function cpuSeconds(plan: FfmpegRun): number {
  return Math.ceil((plan.timeLimitMs / 1000) * 8);
}
