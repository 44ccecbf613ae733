/** The log of the gateway: one line of JSON per message, in the form that all programs of Flick share. */
export interface Log {
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** Workers have no standard output: the runtime collects what is written to its console. */
export const consoleLog: Log = {
  info: (message, fields) => write("info", message, fields),
  warn: (message, fields) => write("warn", message, fields),
  error: (message, fields) => write("error", message, fields),
};

function write(level: string, message: string, fields: Record<string, unknown> = {}): void {
  const line = { time: new Date().toISOString(), level, program: "edge-gateway", message, ...fields };
  // Every request has a line, and nearly all of them are of text and numbers.
  const isPlain = Object.values(fields).every((value) => typeof value !== "object");
  // oxlint-disable-next-line no-console -- the only way for a Worker to log
  console.log(isPlain ? JSON.stringify(line) : JSON.stringify(line, describeErrors));
}

function describeErrors(_key: string, value: unknown): unknown {
  return value instanceof Error ? describe(value) : value;
}

function describe({ name, message, stack, cause }: Error): Record<string, unknown> {
  return { name, message, stack, ...(cause === undefined ? {} : { cause }) };
}
