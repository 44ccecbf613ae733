/** Waits for at least so long: Workers cut the fractions of milliseconds off. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, Math.ceil(ms)));
}
