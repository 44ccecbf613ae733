import { join } from "node:path";

import fluent from "fluent-ffmpeg";

import { hostileInputOptions, inputFile, type Plan } from "./plan.ts";
import { parseProbe, probeEntries, type Probe } from "./probe.ts";

/** Runs FFmpeg's programs on files that nobody vouches for; launch.sh says how they are fenced in. */
export interface Ffmpeg {
  /** What ffprobe says of a file in a folder. */
  probe(dir: string, file: string, options: { maxPixels: number; signal: AbortSignal }): Promise<Probe>;
  /** Carries out a plan in the folder of a job. Its child is gone when this settles. */
  run(dir: string, plan: Plan, signal: AbortSignal): Promise<FfmpegOutput>;
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

const launcher = join(import.meta.dir, "launch.sh");
/** Covers have some 30 lines of statistics each. */
const keptLines = 400;
const probeTimeLimitMs = 30_000;
const probeCpuSeconds = 30;
const maxProbeBytes = 1024 * 1024;
const blockBytes = 512;

/** @param options names or paths of the programs. */
export function createFfmpeg(options: { ffmpegPath: string; ffprobePath: string }): Ffmpeg {
  fluent.setFfmpegPath(launcher);

  return {
    async probe(dir, file, { maxPixels, signal }) {
      signal.throwIfAborted();
      // Not by fluent-ffmpeg: its ffprobe has no time limit, cannot be killed, keeps all output in memory, and reads a text form
      // in which a title with line breaks can pass for a stream.
      const child = Bun.spawn(
        [
          ...[launcher, options.ffprobePath, String(process.pid), String(probeCpuSeconds), "0"],
          ...["-v", "error", ...hostileInputOptions(maxPixels), "-threads", "1"],
          ...["-show_entries", probeEntries, "-of", "json=c=1", "-i", file],
        ],
        {
          cwd: dir,
          env: { PATH: process.env.PATH },
          stdin: "ignore",
          stdout: "pipe",
          stderr: "pipe",
          timeout: probeTimeLimitMs,
          killSignal: "SIGKILL",
          maxBuffer: maxProbeBytes,
          signal,
        },
      );
      const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
      signal.throwIfAborted();
      if (child.exitCode === 0) return parseProbe(stdout);
      throw failure("ffprobe", child.exitCode, child.signalCode, { stdout: "", stderr });
    },

    async run(dir, plan, signal) {
      signal.throwIfAborted();
      const command = fluent(inputFile, { cwd: dir, stdoutLines: keptLines }).inputOptions(
        options.ffmpegPath,
        ...[process.pid, cpuSeconds(plan), Math.ceil(plan.maxOutputBytes / blockBytes)].map(String),
        ...plan.inputOptions,
      );
      command.complexFilter(plan.filter);
      for (const output of plan.outputs) command.output(output.file).outputOptions(output.options);
      return runToEnd(command, plan.timeLimitMs, signal);
    },
  };
}

function runToEnd(command: fluent.FfmpegCommand, timeLimitMs: number, signal: AbortSignal): Promise<FfmpegOutput> {
  return new Promise((resolve, reject) => {
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
      .once("start", () => void (signal.aborted || late ? kill() : undefined))
      .once("end", (stdout: string | null, stderr: string | null) => {
        settle();
        resolve({ stdout: stdout ?? "", stderr: stderr ?? "" });
      })
      .once("error", (error: Error, stdout?: string | null, stderr?: string | null) => {
        settle();
        const output = { stdout: stdout ?? "", stderr: stderr ?? "" };
        const [, code] = /exited with code (\d+)/.exec(error.message) ?? [];
        const [, killedBy] = /killed with signal (\w+)/.exec(error.message) ?? [];
        if (signal.aborted) reject(signal.reason as Error);
        else if (late) reject(new FfmpegFailure("time limit", `ffmpeg took more than ${timeLimitMs} ms`, output));
        else if (code === undefined && killedBy === undefined) reject(new FfmpegFailure("start", error.message));
        else reject(failure("ffmpeg", code === undefined ? null : Number(code), killedBy ?? null, output));
      })
      .run();
  });
}

function failure(program: string, code: number | null, signal: string | null, output: FfmpegOutput): FfmpegFailure {
  if (signal !== null) return new FfmpegFailure("signal", `${program} was killed by ${signal}`, output);
  // What a shell exits with when a program is not there or may not be run.
  if (code === 126 || code === 127) return new FfmpegFailure("start", `${program} cannot be started`, output);
  return new FfmpegFailure("exit", `${program} exited with code ${code}`, output);
}

/** Twice what the threads of the run could use within its time limit: for a run that nobody watches any more. */
function cpuSeconds(plan: Plan): number {
  return Math.ceil((plan.timeLimitMs / 1000) * 8);
}
