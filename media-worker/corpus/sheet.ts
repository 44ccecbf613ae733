import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const background = "0x303030";
const margin = 6;
const limitMs = 60_000;

export interface SheetLayout {
  columns: number;
  /** Pixels of each picture's place, in which it keeps its shape. */
  width: number;
  height: number;
}

/**
 * Lays pictures out row by row, for somebody to look at.
 *
 * @param pictures their paths.
 * @param to the picture to write, by its whole path; its suffix tells its format.
 */
export async function makeSheet(pictures: readonly string[], to: string, layout: SheetLayout): Promise<void> {
  const { columns, width, height } = layout;
  const dir = await mkdtemp(join(tmpdir(), "flick-sheet-"));
  const fitted = `scale=${width - margin}:${height - margin}:force_original_aspect_ratio=decrease,format=rgb24`;
  const padded = `${fitted},pad=${width}:${height}:(ow-iw)/2:(oh-ih)/2:${background},setsar=1`;
  const tiled = `tile=${columns}x${Math.ceil(pictures.length / columns)}:color=${background}`;
  try {
    // Each by itself: what follows takes pictures of one size only.
    for (const [at, picture] of pictures.entries()) {
      await copyFile(picture, join(dir, "picture"));
      await ffmpeg(dir, ["-i", "picture", "-vf", padded, "-frames:v", "1", `${at}.png`]);
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
