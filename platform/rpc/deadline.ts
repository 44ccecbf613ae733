import { Code, ConnectError } from "@connectrpc/connect";

/** The time that a call has, and its end if its caller goes away before. */
export interface Deadline {
  /** Aborted with a ConnectError: DEADLINE_EXCEEDED when the time is over, CANCELED when the caller has gone. */
  signal: AbortSignal;
  /** What is left of the time, in milliseconds; undefined when there is no limit. */
  remainingMs(): number | undefined;
  /** To be called when the call is over. The signal stays as it is: what a handler still does for itself goes on. */
  end(): void;
}

/** The longest time that setTimeout knows: 24.8 days. */
const maxTimerMs = 2 ** 31 - 1;

/**
 * @param options.timeoutMs no limit when undefined.
 * @param options.caller aborted when the caller goes away.
 * @param options.onAbort gets the signal's reason before those who listen to the signal.
 */
export function startDeadline(options: {
  timeoutMs: number | undefined;
  caller: AbortSignal | undefined;
  onAbort?: (reason: ConnectError) => void;
}): Deadline {
  const { timeoutMs, caller, onAbort } = options;
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const end = () => {
    if (timer !== undefined) clearTimeout(timer);
    caller?.removeEventListener("abort", cancel);
  };
  const abort = (reason: ConnectError) => {
    end();
    onAbort?.(reason);
    controller.abort(reason);
  };
  const expire = () => abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
  const cancel = () => abort(ConnectError.from(caller?.reason, Code.Canceled));

  let expiresAt: number | undefined;
  if (caller?.aborted) cancel();
  else if (timeoutMs !== undefined && timeoutMs <= 0) expire();
  else {
    caller?.addEventListener("abort", cancel);
    if (timeoutMs !== undefined) {
      expiresAt = performance.now() + timeoutMs;
      timer = setTimeout(expire, Math.min(timeoutMs, maxTimerMs));
    }
  }
  return {
    signal: controller.signal,
    remainingMs: () => (timeoutMs === undefined ? undefined : (expiresAt ?? performance.now()) - performance.now()),
    end,
  };
}

/**
 * Runs a call until it ends, its time is over or its caller aborts, whichever comes first.
 *
 * @throws ConnectError, whatever the call threw.
 */
export function withDeadline<T>(
  options: { timeoutMs: number | undefined; caller: AbortSignal | undefined },
  run: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const deadline = startDeadline({ ...options, onAbort: reject });
    if (deadline.signal.aborted) return;
    const settle = (then: () => void) => {
      deadline.end();
      then();
    };
    run(deadline).then(
      (result) => settle(() => resolve(result)),
      (error: unknown) => settle(() => reject(ConnectError.from(error))),
    );
  });
}

/** Of a call's own time and the transport's, the one that counts: a client that wants no limit asks for 0. */
export function timeoutFor(ownMs: number | undefined, defaultMs: number): number | undefined {
  if (ownMs === undefined) return defaultMs;
  return ownMs > 0 ? ownMs : undefined;
}

/** Milliseconds of each unit of a `grpc-timeout`. */
const units: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };

/**
 * Milliseconds of a `grpc-timeout` header.
 *
 * @throws INVALID_ARGUMENT when it is not 1 to 8 digits and a unit.
 */
export function parseTimeout(header: string): number {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(header) ?? [];
  const unitMs = unit === undefined ? undefined : units[unit];
  if (unitMs === undefined)
    throw new ConnectError("protocol error: grpc-timeout is not 1 to 8 digits and a unit", Code.InvalidArgument);
  return Number(digits) * unitMs;
}

/** The `grpc-timeout` header of so many milliseconds: never less, and at most its 8 digits in hours. */
export function formatTimeout(ms: number): string {
  if (ms < 1) return `${Math.max(0, Math.ceil(ms * 1000))}u`;
  for (const unit of ["m", "S", "M"]) {
    const count = Math.ceil(ms / (units[unit] ?? 1));
    if (count < 100_000_000) return `${count}${unit}`;
  }
  return `${Math.min(99_999_999, Math.ceil(ms / 3_600_000))}H`;
}
