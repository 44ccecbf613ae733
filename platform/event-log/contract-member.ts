import { createLog } from "../log.ts";
import type { EventLog } from "./event-log.ts";

/** How to open a driver's log, in this process or in another. */
export interface DriverSpec {
  /** Path of the module. */
  module: string;
  /** The function in it that makes an event log of its options. */
  factory: string;
  /** All of its options but `log`; must survive JSON. */
  options: Record<string, unknown>;
}

/** What a member in a process of its own is told, as JSON, in its only argument. */
export interface MemberOrders {
  driver: DriverSpec;
  topic: string;
  group: string;
  /** Of a handler. Default 120 000. */
  workMs?: number;
}

export async function openEventLog({ module, factory, options }: DriverSpec): Promise<EventLog> {
  const exports = (await import(module)) as Record<string, (options: Record<string, unknown>) => EventLog>;
  const create = exports[factory];
  if (!create) throw new Error(`${module} exports no ${factory}`);
  const write = (line: string) => void process.stderr.write(line);
  return create({ ...options, log: createLog({ program: "contract", level: "error", write }) });
}

/** As a program: a member that prints `joined`, and the value of each record that it begins with, until somebody kills it. */
if (import.meta.main) {
  const orders = JSON.parse(process.argv[2] ?? "") as MemberOrders;
  const eventLog = await openEventLog(orders.driver);
  await eventLog.subscribe({
    group: orders.group,
    topics: [orders.topic],
    handler: async ({ value }) => {
      process.stdout.write(`${value}\n`);
      await Bun.sleep(orders.workMs ?? 120_000);
    },
  });
  process.stdout.write("joined\n");
}
