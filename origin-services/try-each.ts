/**
 * Does some work for each of several things, one after the other, also when it fails for some: one that always fails holds up no others.
 *
 * @returns for how many it was done.
 * @throws after the last one if any failed, with the first failure as its cause.
 */
export async function tryEach<T>(things: Iterable<T>, work: (thing: T) => Promise<unknown>): Promise<number> {
  const failures: unknown[] = [];
  let done = 0;
  for (const thing of things) {
    try {
      await work(thing);
      done++;
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new Error(`${failures.length} failed, ${done} did not`, { cause: failures[0] });
  return done;
}
