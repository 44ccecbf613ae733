/** A number of places that callers wait for in turn. */
export interface Slots {
  /** Runs once a place is free. @throws the signal's reason when it aborts while waiting. */
  use<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
  /** Lets those in for whom there is room now. To be called when there are more places than before. */
  admit(): void;
}

/** @param count how many there are now; with fewer than before, nobody is sent away. */
export function createSlots(count: () => number): Slots {
  let taken = 0;
  const waiting: (() => void)[] = [];

  async function enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (taken < count() && waiting.length === 0) {
      taken++;
      return;
    }
    const admitted = Promise.withResolvers<boolean>();
    const comeIn = () => {
      signal.removeEventListener("abort", giveUp);
      admitted.resolve(true);
    };
    const giveUp = () => {
      waiting.splice(waiting.indexOf(comeIn), 1);
      admitted.resolve(false);
    };
    waiting.push(comeIn);
    signal.addEventListener("abort", giveUp, { once: true });
    if (!(await admitted.promise)) signal.throwIfAborted();
  }

  /** A place is taken for who has waited for it, so that nobody can cut in. */
  function admit(): void {
    while (taken < count()) {
      const next = waiting.shift();
      if (!next) return;
      taken++;
      next();
    }
  }

  return {
    admit,
    async use(work, signal) {
      await enter(signal);
      try {
        return await work();
      } finally {
        taken--;
        admit();
      }
    },
  };
}
