import type { Log } from "@flick/platform/log.ts";

/**
 * Does some work again and again in the background, a while after it ended; processes that started together drift apart. A failure
 * is logged, the first of several in a row only.
 *
 * @returns what stops it; work under way is not waited for.
 */
export function repeat(
  options: { name: string; intervalMs: number; log: Log },
  work: (stopping: AbortSignal) => Promise<unknown>,
): () => void {
  const { name, intervalMs, log } = options;
  const stopping = new AbortController();
  let timer: Timer | undefined;
  let failing = false;

  async function run(): Promise<void> {
    try {
      await work(stopping.signal);
      failing = false;
    } catch (error) {
      if (!failing && !stopping.signal.aborted) log.warn(`${name} failed`, { error });
      failing = true;
    }
    schedule();
  }

  function schedule(): void {
    if (stopping.signal.aborted) return;
    timer = setTimeout(() => void run(), intervalMs * (0.8 + 0.4 * Math.random()));
  }

  schedule();
  return () => {
    stopping.abort();
    clearTimeout(timer);
  };
}
