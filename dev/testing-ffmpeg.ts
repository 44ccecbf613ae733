import { descendantsOf, isRunning } from "./processes.ts";

const withinMs = 30_000;

/**
 * Waits until a process, or a program below it, runs FFmpeg, and holds that, so that no machine is so fast that the work is done before the
 * test has gone on.
 *
 * @returns the processes that are held, for a SIGCONT.
 */
export async function pauseFfmpeg(ancestor: number): Promise<number[]> {
  for (const deadline = Date.now() + withinMs; Date.now() < deadline; await Bun.sleep(10)) {
    const running = descendantsOf(ancestor).filter(({ command }) => /^\S*ffmpeg /.test(command));
    const paused = running.filter(({ pid }) => pause(pid));
    if (paused.length > 0) return paused.map(({ pid }) => pid);
  }
  throw new Error(`there has been no FFmpeg for ${withinMs / 1000} s`);
}

/** False when the process has ended. */
function pause(pid: number): boolean {
  try {
    process.kill(pid, "SIGSTOP");
    return isRunning(pid);
  } catch {
    return false;
  }
}
