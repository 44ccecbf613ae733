/** What one run of a load came to. */
export interface Measured {
  /** Actions that were answered in a second. */
  rate: number;
  /** Milliseconds that half of them, and that 99 % of them, took at most. */
  p50: number;
  p99: number;
}

const warmUpMs = 500;

/**
 * Keeps so many actions in flight for so long, and measures those that end after the first half second.
 *
 * @param act does the n-th action; n counts up from 0 over all that are in flight.
 */
export async function measure(options: {
  inFlight: number;
  seconds: number;
  act: (n: number) => Promise<unknown>;
}): Promise<Measured> {
  const { inFlight, seconds, act } = options;
  const begun = performance.now();
  const counted = begun + warmUpMs;
  const end = counted + seconds * 1000;
  const times: number[] = [];
  let next = 0;
  const worker = async () => {
    for (;;) {
      const from = performance.now();
      if (from >= end) return;
      await act(next++);
      const to = performance.now();
      if (to >= counted && to < end) times.push(to - from);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  times.sort((one, other) => one - other);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? Number.NaN;
  return { rate: times.length / seconds, p50: at(0.5), p99: at(0.99) };
}
