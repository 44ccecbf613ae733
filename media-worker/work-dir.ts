import { mkdir, mkdtemp, readdir, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/** Private folders for jobs, in one folder per worker process. */
export interface WorkDir {
  /** Runs with a new empty folder that only this user may read, and removes it whatever happens. */
  with<T>(use: (dir: string) => Promise<T>): Promise<T>;
  /** Removes the folder of this process. */
  close(): Promise<void>;
}

/** How often a process shows that its folder is in use, and how long after that the folder counts as left behind. */
const touchMs = 3_600_000;
const abandonedAfterMs = 24 * touchMs;

/**
 * Makes this process's folder `flick-media-<host>-<pid>` under `parent`, and first removes what workers that were killed left behind:
 * folders of processes on this host that are gone, and those of other hosts that nobody has touched for a day, since containers share
 * a volume and get another host name each. A folder with our own number is a leftover too, in a container above all.
 */
export async function createWorkDir(parent: string): Promise<WorkDir> {
  await mkdir(parent, { recursive: true });
  for (const name of await readdir(parent)) {
    if (await isAbandoned(parent, name)) await rm(join(parent, name), { recursive: true, force: true });
  }
  const own = join(parent, `flick-media-${hostname()}-${process.pid}`);
  await mkdir(own, { mode: 0o700 });
  const touching = setInterval(() => void utimes(own, new Date(), new Date()).catch(() => {}), touchMs).unref();

  return {
    async with(use) {
      const dir = await mkdtemp(join(own, "job-"));
      try {
        return await use(dir);
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    },
    close() {
      clearInterval(touching);
      return rm(own, { recursive: true, force: true });
    },
  };
}

async function isAbandoned(parent: string, name: string): Promise<boolean> {
  const [, host, digits] = /^flick-media-(.+)-(\d+)$/.exec(name) ?? [];
  if (host === hostname()) return Number(digits) === process.pid || !isAlive(Number(digits));
  // Another worker may have removed it meanwhile.
  const found = host === undefined ? undefined : await stat(join(parent, name)).catch(() => undefined);
  return found !== undefined && found.mtimeMs < Date.now() - abandonedAfterMs;
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
