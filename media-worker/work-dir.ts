import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/** Private folders for jobs, in one folder per worker process. */
export interface WorkDir {
  /** Runs with a new empty folder that only this user may read, and removes it whatever happens. */
  with<T>(use: (dir: string) => Promise<T>): Promise<T>;
  /** Removes the folder of this process. */
  close(): Promise<void>;
}

/**
 * Makes this process's folder `flick-media-<host>-<pid>` under `parent`, and first removes those of processes on this host that
 * are gone: what a worker that was killed left behind. A folder with our own number is a leftover too, in a container above all.
 */
export async function createWorkDir(parent: string): Promise<WorkDir> {
  const prefix = `flick-media-${hostname()}-`;
  await mkdir(parent, { recursive: true });
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(name.slice(prefix.length));
    if (Number.isInteger(pid) && (pid === process.pid || !isAlive(pid))) {
      await rm(join(parent, name), { recursive: true, force: true });
    }
  }
  const own = join(parent, `${prefix}${process.pid}`);
  await mkdir(own, { mode: 0o700 });

  return {
    async with(use) {
      const dir = await mkdtemp(join(own, "job-"));
      try {
        return await use(dir);
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    },
    close: () => rm(own, { recursive: true, force: true }),
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and belongs to somebody else.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
