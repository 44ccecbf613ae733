import { statfs } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** How much of the disk the jobs of this worker may take, all together. */
export interface DiskBudget {
  /**
   * Sets room aside for a job; waits for others to give theirs back when there is none, for 30 s at most. Returns what gives it back.
   *
   * @throws {NoRoom} when there is none in time; {Error} when there never will be, the signal's reason when it aborts. Both name the budget.
   */
  reserve(bytes: number, signal: AbortSignal): Promise<() => void>;
}

/** The job is as good as before, and may be done when others have ended, or elsewhere. */
export class NoRoom extends Error {
  override name = "NoRoom";
}

const defaultWaitMs = 30_000;
const lookAgainMs = 250;

/** @param options.dir the folder of the jobs: as much as is set aside has to be free on its disk. */
export function createDiskBudget(options: { dir: string; maxBytes: number; waitMs?: number }): DiskBudget {
  const { dir, maxBytes, waitMs = defaultWaitMs } = options;
  let reserved = 0;

  async function whyNot(bytes: number): Promise<string | null> {
    if (reserved + bytes > maxBytes) return `${reserved} of the ${maxBytes} bytes of DISK_BUDGET_BYTES are taken`;
    const { bavail, bsize } = await statfs(dir);
    // Asked again, because somebody may have come first meanwhile.
    if (reserved + bytes > maxBytes) return `${reserved} of the ${maxBytes} bytes of DISK_BUDGET_BYTES are taken`;
    return bavail * bsize < bytes ? `${bavail * bsize} bytes are free on the disk of WORK_DIR` : null;
  }

  return {
    async reserve(bytes, signal) {
      if (bytes > maxBytes) throw new Error(`the job needs ${bytes} bytes, and DISK_BUDGET_BYTES is ${maxBytes}`);
      const deadline = performance.now() + waitMs;
      for (let why = await whyNot(bytes); why !== null; why = await whyNot(bytes)) {
        if (performance.now() > deadline) throw new NoRoom(`the job needs ${bytes} bytes of disk: ${why}`);
        await sleep(lookAgainMs, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
      reserved += bytes;
      return () => {
        reserved -= bytes;
        bytes = 0;
      };
    },
  };
}
