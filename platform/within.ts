/**
 * What the work comes to, or the error of `late` when that takes longer than `ms` milliseconds. The work itself goes on; a failure of it
 * that comes later is nobody's.
 */
export async function within<T>(work: Promise<T>, ms: number, late: () => Error): Promise<T> {
  const { promise: timedOut, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(late()), ms);
  try {
    return await Promise.race([work, timedOut]);
  } finally {
    clearTimeout(timer);
  }
}
