/** Lets work, which does not reject, go on after the answer of the request that began it, as `waitUntil` of a Worker does. */
export type KeepAlive = (work: Promise<void>) => void;

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
  /** In place of a value of this age a new one is waited for, unless the last attempt has failed. */
  staleMs: number;
  /** Between the beginnings of two attempts. */
  retryMs: number;
  timeoutMs: number;
  onFailure?: (error: unknown) => void;
  /** Is there before the first one could be loaded; without it, that one is waited for. */
  initial?: T;
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
  let value = options.initial ?? null;
  let loadedAt = -Infinity;
  let attemptedAt = -Infinity;
  let attemptEndsAt = -Infinity;
  let failing = false;

  return {
    async get(keepAlive = () => {}) {
      const age = now() - loadedAt;
      const wait = value === null || (age >= staleMs && !failing);
      if (age >= freshMs) await attemptIfDue(wait, keepAlive);
      return value;
    },
    async renew(keepAlive = () => {}) {
      if (now() - loadedAt >= retryMs) await attemptIfDue(true, keepAlive);
      return loadedAt === attemptedAt ? value : null;
    },
  };

  async function attemptIfDue(wait: boolean, keepAlive: KeepAlive): Promise<void> {
    if (now() < attemptEndsAt) {
      if (wait) await attemptOfAnother();
    } else if (now() - attemptedAt >= retryMs) {
      const attempt = load();
      if (wait) await attempt;
      else keepAlive(attempt);
    }
  }

  async function load(): Promise<void> {
    const began = now();
    attemptedAt = began;
    attemptEndsAt = began + timeoutMs;
    try {
      const loaded = await options.load(AbortSignal.timeout(timeoutMs), value);
      // What an attempt brings that was given up for lost is not newer than what the next one brought.
      if (began >= loadedAt) [value, loadedAt] = [loaded, began];
      failing = false;
    } catch (error) {
      failing = true;
      options.onFailure?.(error);
    } finally {
      if (attemptedAt === began) attemptEndsAt = -Infinity;
    }
  }

  async function attemptOfAnother(): Promise<void> {
    while (now() < attemptEndsAt) await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
}
