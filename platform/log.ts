/** One line of JSON per message on standard output: what log collectors expect, and what `dev` prints prettily. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** An `error` field may be anything thrown: its name, message, stack and causes are logged. */
export type LogFields = Record<string, unknown>;

const levels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof levels)[number];

/**
 * @param options.level the lowest that is logged, default `info`; a function when it may change.
 * @param options.write where finished lines go; standard output by default.
 */
export function createLog(options: {
  program: string;
  level?: LogLevel | (() => LogLevel);
  write?: (line: string) => void;
}): Log {
  const write = options.write ?? ((line) => void process.stdout.write(line));
  const { level: given = "info" } = options;
  const lowest = typeof given === "string" ? () => given : given;
  const at =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (levels.indexOf(level) < levels.indexOf(lowest())) return;
      const line = { time: new Date().toISOString(), level, program: options.program, message, ...fields };
      write(`${JSON.stringify(line, (_key, value: unknown) => (value instanceof Error ? describe(value) : value))}\n`);
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function describe(error: Error): Record<string, unknown> {
  const { name, message, stack, cause } = error;
  return { name, message, stack, ...(cause === undefined ? {} : { cause }) };
}
