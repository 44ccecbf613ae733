import type { EventLog, EventRecord, ReceivedEvent, SubscribeOptions } from "./event-log.ts";

export function record(topic: string, value: string, key = "k"): EventRecord {
  return { topic, key, value };
}

/** Subscribes with a handler that remembers what it got. */
export async function collect(
  log: EventLog,
  options: Omit<SubscribeOptions, "handler">,
  workMs = 0,
): Promise<ReceivedEvent[]> {
  const seen: ReceivedEvent[] = [];
  const handler = async (event: ReceivedEvent) => {
    if (workMs > 0) await Bun.sleep(workMs);
    seen.push(event);
  };
  await log.subscribe({ ...options, handler });
  return seen;
}

/** Resolves when the condition holds. @throws when it does not within the time, with what was waited for. */
export async function until(holds: () => boolean | Promise<boolean>, what: string, withinMs = 15_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await Bun.sleep(10);
  }
}
