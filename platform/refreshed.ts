/** Lets work go on after the answer of the request that began it, as `waitUntil` of a Worker does. */
export type KeepAlive = (work: Promise<unknown>) => void;

/** A value that is loaded from elsewhere, kept, and loaded again while it is in use. */
export interface Refreshed<T> {
  /** The last value that could be loaded; null when there was none yet. */
  get(keepAlive?: KeepAlive): Promise<T | null>;
  /** A value that is no older than `retryMs`; null when the last attempt to load it has failed. */
  renew(keepAlive?: KeepAlive): Promise<T | null>;
}

export interface RefreshOptions<T> {
  /** Gets the value anew; `signal` aborts after `timeoutMs`. */
  load: (signal: AbortSignal, previous: T | null) => Promise<T>;
  /** A value of this age is used as it is; an older one too, but is renewed meanwhile. */
  freshMs: number;
  /** A value of this age is waited for, as long as it can be had. */
  staleMs: number;
  /** Between the beginnings of two attempts. */
  retryMs: number;
  timeoutMs: number;
  onFailure?: (error: unknown) => void;
  now?: () => number;
}

/** How often a request looks whether another one's attempt has ended. */
const lookMs = 5;

/**
 * Shares one value among requests, of which one at a time loads it. In workerd no request may wait for what another one began, so those
 * that need the value meanwhile look for it by timers of their own. A request that is gone before its attempt has ended holds the
 * others up for `timeoutMs`.
 */
export function createRefreshed<T extends object>(options: RefreshOptions<T>): Refreshed<T> {
  const { freshMs, staleMs, retryMs, timeoutMs, now = Date.now } = options;
  let value: T | null = null;
  let loadedAt = -Infinity;
  let attemptedAt = -Infinity;
  let attemptEndsAt = -Infinity;

  return {
    get: (keepAlive) => read(freshMs, staleMs, keepAlive),
    async renew(keepAlive) {
      const renewed = await read(retryMs, retryMs, keepAlive);
      return loadedAt === attemptedAt ? renewed : null;
    },
  };

  async function read(fresh: number, stale: number, keepAlive: KeepAlive = () => {}): Promise<T | null> {
    const age = now() - loadedAt;
    if (age < fresh) return value;
    if (now() < attemptEndsAt) {
      if (age >= stale) await attemptOfAnother();
    } else if (now() - attemptedAt >= retryMs) {
      const attempt = load();
      if (age >= stale) await attempt;
      else keepAlive(attempt);
    }
    return value;
  }

  async function load(): Promise<void> {
    const began = now();
    attemptedAt = began;
    attemptEndsAt = began + timeoutMs;
    try {
      const loaded = await options.load(AbortSignal.timeout(timeoutMs), value);
      // What an attempt brings that was given up for lost is not newer than what the next one brought.
      if (began >= loadedAt) [value, loadedAt] = [loaded, began];
    } catch (error) {
      options.onFailure?.(error);
    } finally {
      if (attemptedAt === began) attemptEndsAt = -Infinity;
    }
  }

  async function attemptOfAnother(): Promise<void> {
    while (now() < attemptEndsAt) await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
}
