import { copyFile, mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { BadUpload } from "../bad-upload.ts";
import type { Ffmpeg } from "../ffmpeg.ts";
import { inputFile } from "../ffmpeg-run.ts";
import { defaultLimits } from "../limits.ts";
import { makeVideo, type MadeFiles } from "../make-video.ts";
import { findFaults } from "./check.ts";
import type { Entry, Place } from "./entry.ts";

export interface CorpusOptions {
  /** Where files are made; what an entry leaves is removed. */
  dir: string;
  /** What processes the files: the worker's own. */
  ffmpeg: Ffmpeg;
  /** A server that must not see any request. */
  bait: string;
  /** Keeps every file of the corpus here, and the covers of the good ones. */
  keep?: string;
  signal: AbortSignal;
}

export interface EntryResult {
  entry: Entry;
  /** What became of it, in a few words. */
  outcome: string;
  /** What should not be; empty when all is as expected. */
  faults: string[];
  bytes: number;
  makeMs: number;
  workMs: number;
  checkMs: number;
}

const makeLimitMs = 300_000;

/** Makes a file, has it processed as the media worker does it, and looks at what became of it. */
export async function runEntry(entry: Entry, options: CorpusOptions): Promise<EntryResult> {
  const dir = await mkdtemp(join(options.dir, "entry-"));
  try {
    const makeStart = performance.now();
    const path = await makeEntry(entry, dir, options);
    const { size: bytes } = await stat(path);
    const workStart = performance.now();
    const work = join(dir, "work");
    await mkdir(work);
    await copyFile(path, join(work, inputFile));
    const result = await process(work, bytes, options);
    const checkStart = performance.now();
    const faults = await judge(entry, work, bytes, result, options);
    if (options.keep) await keep(entry, path, work, result, options.keep);
    return {
      entry,
      outcome: describe(result),
      faults,
      bytes,
      makeMs: workStart - makeStart,
      workMs: checkStart - workStart,
      checkMs: performance.now() - checkStart,
    };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Makes the file of an entry; returns its path. */
async function makeEntry(entry: Entry, parent: string, { bait, signal }: CorpusOptions): Promise<string> {
  const dir = join(parent, "make");
  await mkdir(dir);
  const extension = /\.\w+$/.exec(entry.name)?.[0] ?? "";
  const file = `file${extension}`;
  const place: Place = { dir, file, bait, ffmpeg: (args) => runFfmpeg(dir, args, signal) };
  await entry.make(place);
  const path = join(dir, onDisk(entry.name));
  await rename(join(dir, file), path);
  return path;
}

/** The name of the cover of an entry among what is kept. */
export function coverOf({ name }: Entry): string {
  return `${onDisk(name)}.cover.jpg`;
}

/** As much of a name as a file on disk can have. */
function onDisk(name: string): string {
  return name.replaceAll(/[\0/]/g, "");
}

async function runFfmpeg(dir: string, args: string, signal: AbortSignal): Promise<void> {
  const command = ["nice", "-n", "15", "ffmpeg", "-nostdin", "-v", "error", "-y", ...args.split(" ")];
  const child = Bun.spawn(command, {
    cwd: dir,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: makeLimitMs,
    signal,
  });
  const [stderr] = await Promise.all([child.stderr.text(), child.exited]);
  signal.throwIfAborted();
  if (child.exitCode !== 0) throw new Error(`ffmpeg ${args} failed: ${stderr}`);
}

async function process(dir: string, inputBytes: number, { ffmpeg, signal }: CorpusOptions) {
  try {
    return await makeVideo({ ffmpeg, dir, limits: defaultLimits, inputBytes, signal }, () => {});
  } catch (error) {
    signal.throwIfAborted();
    return error instanceof Error ? error : new Error(String(error));
  }
}

async function judge(
  { expect }: Entry,
  dir: string,
  bytes: number,
  result: MadeFiles | Error,
  { signal }: CorpusOptions,
): Promise<string[]> {
  if (result instanceof Error) {
    if (!(result instanceof BadUpload)) return [`a fault of ours: ${result.stack}`];
    if (expect.outcome === "ready") return [`refused: ${result.message}`];
    return result.message.includes(expect.reason) ? [] : [`refused, but: ${result.message}`];
  }
  if (expect.outcome === "failed") return ["not refused"];
  return findFaults(dir, result, expect, { bytes, signal });
}

function describe(result: MadeFiles | Error): string {
  if (result instanceof Error) return `failed: ${result.message.split("\n")[0]}`;
  const sizes = result.renditions.map(({ width, height }) => `${width}x${height}`).join(" ");
  const copied = result.copied.length > 0 ? `, ${result.copied.join(" and ")} copied` : "";
  return `ready: ${sizes}, ${(result.durationMs / 1000).toFixed(2)} s${copied}`;
}

async function keep(entry: Entry, path: string, work: string, result: MadeFiles | Error, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await copyFile(path, join(to, onDisk(entry.name)));
  if (result instanceof Error) return;
  await copyFile(join(work, result.cover.file), join(to, coverOf(entry)));
}
