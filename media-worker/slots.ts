/** A number of places that callers wait for in turn. */
export interface Slots {
  /** Runs once a place is free. @throws the signal's reason when it aborts while waiting. */
  use<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

export function createSlots(count: number): Slots {
  let free = count;
  const waiting: (() => void)[] = [];

  async function enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (free > 0) {
      free--;
      return;
    }
    const admitted = Promise.withResolvers<boolean>();
    const admit = () => {
      signal.removeEventListener("abort", giveUp);
      admitted.resolve(true);
    };
    const giveUp = () => {
      waiting.splice(waiting.indexOf(admit), 1);
      admitted.resolve(false);
    };
    waiting.push(admit);
    signal.addEventListener("abort", giveUp, { once: true });
    if (!(await admitted.promise)) signal.throwIfAborted();
  }

  /** A place goes from hand to hand while somebody waits, so that nobody can cut in. */
  function leave(): void {
    const next = waiting.shift();
    if (next) next();
    else free++;
  }

  return {
    async use(work, signal) {
      await enter(signal);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
