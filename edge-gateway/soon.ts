/**
 * What is there at once, or will be. Promises are a good part of what an answer out of memory costs, in time and in garbage: where there is
 * nothing to wait for, none is made.
 */
export type Soon<T> = T | Promise<T>;

/** As `then` of a promise; at once where there is none. */
export function andThen<T, U>(value: Soon<T>, go: (value: T) => Soon<U>): Soon<U> {
  return value instanceof Promise ? value.then(go) : go(value);
}
