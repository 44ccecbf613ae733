import { join } from "node:path";
import { promisify } from "node:util";

import fluent from "fluent-ffmpeg";

import { hostileInputOptions, inputFile, type FfmpegRun } from "./plan.ts";
import { parseProbe, probeEntries, type Probe } from "./probe.ts";

/** Runs FFmpeg's programs on files that nobody vouches for; launch.sh says how they are fenced in. */
export interface Ffmpeg {
  /** What ffprobe says of a file in a folder. */
  probe(
    dir: string,
    file: string,
    options: { maxPixels: number; formats: string; signal: AbortSignal },
  ): Promise<Probe>;
  /** @throws when a program or an encoder that every job needs is missing. */
  check(): Promise<void>;
  /** Carries out a plan in the folder of a job. Its child is gone when this settles. */
  run(dir: string, plan: FfmpegRun, signal: AbortSignal): Promise<FfmpegOutput>;
}

export interface FfmpegOutput {
  stdout: string;
  /** Complaints only, the last {@link keptLines} lines. */
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
 * Does a killed worker take its FFmpeg with it? Only where launch.sh finds a setpriv that knows parent-death signals; elsewhere the
 * limits on CPU time end a run that nobody waits for.
 */
export function diesWithWorker(): boolean {
  const setpriv = Bun.which("setpriv");
  return setpriv !== null && Bun.spawnSync([setpriv, "--pdeathsig", "KILL", "true"]).success;
}

const launcher = join(import.meta.dir, "launch.sh");
/** Covers have some 30 lines of statistics each. */
const keptLines = 400;
const probeTimeLimitMs = 30_000;
const probeCpuSeconds = 30;
const maxProbeBytes = 1024 * 1024;
const blockBytes = 512;
/** On a machine that does other things too, they come first. */
const niceness = 10;

/** @param options names or paths of the programs. */
export function createFfmpeg(options: { ffmpegPath: string; ffprobePath: string }): Ffmpeg {
  fluent.setFfmpegPath(launcher);

  return {
    async probe(dir, file, { maxPixels, formats, signal }) {
      signal.throwIfAborted();
      // Not by fluent-ffmpeg: its ffprobe has no time limit, cannot be killed, keeps all output in memory, and reads a text form
      // in which a title with line breaks can pass for a stream.
      const fence = [String(process.pid), String(probeCpuSeconds), "0"];
      const input = ["-v", "error", ...hostileInputOptions(maxPixels, formats), "-threads", "1", "-i", file];
      const answer = ["-show_entries", probeEntries, "-of", "json=c=1"];
      const child = Bun.spawn([launcher, options.ffprobePath, ...fence, ...input, ...answer], {
        cwd: dir,
        env: { PATH: process.env.PATH },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
        timeout: probeTimeLimitMs,
        killSignal: "SIGKILL",
        maxBuffer: maxProbeBytes,
        signal,
      });
      const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
      signal.throwIfAborted();
      if (child.exitCode === 0) return parseProbe(stdout);
      throw failure("ffprobe", child.exitCode, child.signalCode, { stdout: "", stderr });
    },

    async run(dir, plan, signal) {
      signal.throwIfAborted();
      const command = fluent(inputFile, { cwd: dir, stdoutLines: keptLines, niceness }).inputOptions(
        options.ffmpegPath,
        ...[process.pid, cpuSeconds(plan), Math.ceil(plan.maxOutputBytes / blockBytes)].map(String),
        ...plan.inputOptions,
      );
      command.complexFilter(plan.filter);
      for (const output of plan.outputs) command.output(output.file).outputOptions(...output.options);
      try {
        return await runToEnd(command, plan.timeLimitMs, signal);
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      }
    },

    async check() {
      const ffprobe = Bun.spawn([options.ffprobePath, "-version"], {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      });
      if ((await ffprobe.exited) !== 0) throw new Error(`${options.ffprobePath} -version failed`);
      const encoders = await promisify(fluent.getAvailableEncoders)().catch((error: unknown) => {
        throw new Error(`${options.ffmpegPath} cannot be used`, { cause: error });
      });
      const missing = ["libx264", "aac", "mjpeg"].filter((name) => !(name in encoders));
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
        resolve({ stdout: stdout ?? "", stderr: stderr ?? "" });
      })
      .once("error", (error: Error, stdout?: string | null, stderr?: string | null) => {
        settle();
        const output = { stdout: stdout ?? "", stderr: stderr ?? "" };
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
  if (signal !== null) return new FfmpegFailure("signal", `${program} was killed by ${signal}`, output);
  // What a shell exits with when a program is not there or may not be run.
  if (code === 126 || code === 127) return new FfmpegFailure("start", `${program} cannot be started`, output);
  return new FfmpegFailure("exit", `${program} exited with code ${code}`, output);
}

/** Twice what the threads of the run could use within its time limit: for a run that nobody watches any more. */
function cpuSeconds(plan: FfmpegRun): number {
  return Math.ceil((plan.timeLimitMs / 1000) * 8);
}
