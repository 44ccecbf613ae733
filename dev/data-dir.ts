import { Database } from "bun:sqlite";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { endLeftovers, recordProcesses, type RecordedProcess } from "./leftovers.ts";
import { Refusal } from "./refusal.ts";

/** The folder with the state of one local stack, held by this process alone until it is closed. */
export interface DataDir {
  path: string;
  /** Processes of an earlier run that had outlived it and were ended when this folder was opened. */
  ended: RecordedProcess[];
  /** The path of something inside. */
  file(...names: string[]): string;
  /** Notes which processes work in this folder, for the next run to end if this one is killed. */
  record(processes: readonly { name: string; pid: number }[]): void;
  close(): void;
}

const marker = "flick-data.txt";
const markerText = "The local Flick stack keeps its state in this folder. `npx bun run dev:reset` removes it.\n";

/**
 * Opens a data folder, making it when it is not there.
 *
 * @throws {Refusal} when another copy has it open, or when it holds files that are not ours.
 */
export async function openDataDir(path: string): Promise<DataDir> {
  await mkdir(path, { recursive: true });
  const present = await readdir(path);
  if (present.length > 0 && !present.includes(marker)) {
    throw new Refusal(`${path} holds files that are not Flick's. Set FLICK_DATA_DIR to an empty or new folder.`);
  }
  const unlock = lock(path);
  const recordFile = join(path, "processes.json");
  try {
    await markDataDir(path);
    const ended = await endLeftovers(recordFile);
    return {
      path,
      ended,
      file: (...names) => join(path, ...names),
      record: (processes) => recordProcesses(recordFile, processes),
      close: unlock,
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

/** Makes a folder and leaves the sign in it by which it is known to be Flick's. */
export async function markDataDir(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await writeFile(join(path, marker), markerText);
}

/**
 * Removes a data folder and ends what still runs in it; returns false when there is none.
 *
 * @throws {Refusal} when a copy is running, or when the folder does not carry our marker.
 */
export async function removeDataDir(path: string): Promise<boolean> {
  const present = await readdir(path).catch(() => null);
  if (present === null) return false;
  if (!present.includes(marker)) {
    throw new Refusal(`${path} is not a data folder of Flick (it holds no ${marker}); nothing was removed.`);
  }
  const dataDir = await openDataDir(path);
  try {
    await rm(path, { recursive: true, force: true });
  } finally {
    dataDir.close();
  }
  return true;
}

/**
 * An exclusive lock that the operating system takes away when this process ends, however it ends: it cannot be stale.
 * (SQLite's lock, because neither Bun nor Node can lock a file.)
 */
function lock(path: string): () => void {
  const database = new Database(join(path, "lock.sqlite"));
  try {
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (!(error instanceof Error && "code" in error && error.code === "SQLITE_BUSY")) throw error;
    throw new Refusal(
      `Another copy is running in ${path}. Stop it first (Ctrl-C), or give this one a folder of its own with ` +
        "FLICK_DATA_DIR, and ports of its own.",
    );
  }
  return () => database.close();
}
