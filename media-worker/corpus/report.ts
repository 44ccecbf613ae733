import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";

import type { Entry } from "./entry.ts";
import { coverOf, type EntryResult } from "./run.ts";

const columns = 12;
const cell = { width: 120, height: 160 };
const limitMs = 60_000;

/** What was expected of each file and what came of it, as a table in Markdown. */
export function table(results: readonly EntryResult[]): string {
  const rows = results.map(({ entry, outcome, faults }) => {
    const is = faults.length === 0 ? outcome : `**${outcome}: ${faults.join("; ")}**`;
    return `| ${[name(entry), expected(entry), is].map(escape).join(" | ")} |\n`;
  });
  return `| file | expected | outcome |\n|---|---|---|\n${rows.join("")}`;
}

/**
 * Lays out the covers of all files that became videos, row by row.
 *
 * @param kept the folder that they were kept in.
 * @param to the picture to write, by its whole path; its suffix tells its format.
 */
export async function makeSheet(results: readonly EntryResult[], kept: string, to: string): Promise<void> {
  const ready = results.filter(({ outcome }) => outcome.startsWith("ready"));
  const dir = await mkdtemp(join(kept, "sheet-"));
  const { width, height } = cell;
  const fitted = `scale=${width - 6}:${height - 6}:force_original_aspect_ratio=decrease,format=rgb24`;
  const padded = `${fitted},pad=${width}:${height}:(ow-iw)/2:(oh-ih)/2:0x303030,setsar=1`;
  const tiled = `tile=${columns}x${Math.ceil(ready.length / columns)}:color=0x303030`;
  try {
    // Each by itself: what follows takes pictures of one size only.
    for (const [at, { entry }] of ready.entries()) {
      await copyFile(join(kept, coverOf(entry)), join(dir, "cover.jpg"));
      await ffmpeg(dir, ["-i", "cover.jpg", "-vf", padded, "-frames:v", "1", `${at}.png`]);
    }
    await ffmpeg(dir, ["-framerate", "1", "-start_number", "0", "-i", "%d.png", "-vf", tiled, "-frames:v", "1", to]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function ffmpeg(cwd: string, args: string[]): Promise<void> {
  const command = ["ffmpeg", "-nostdin", "-v", "error", "-y", ...args];
  const child = Bun.spawn(command, { cwd, stdin: "ignore", stdout: "ignore", stderr: "pipe", timeout: limitMs });
  const [complaint] = await Promise.all([child.stderr.text(), child.exited]);
  if (child.exitCode !== 0) throw new Error(`the sheet could not be made: ${complaint}`);
}

function name({ name: given }: Entry): string {
  return JSON.stringify(given).slice(1, -1);
}

function expected({ expect }: Entry): string {
  if (expect.outcome === "failed") return `failed: … ${expect.reason} …`;
  const sound = { level: "leveled sound", present: "sound", none: "no sound" }[expect.sound];
  const copied = expect.copied?.length ? [`${expect.copied.join(" and ")} copied`] : [];
  return [`ready: ${expect.renditions.join(" ")}`, `${(expect.durationMs / 1000).toFixed(2)} s`, sound, ...copied].join(
    ", ",
  );
}

const escape = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
