/** What `dev` and `test` print: their own lines, and those of their children behind the child's name. */
export interface Output {
  say(text: string): void;
  /** Prints a line that a child wrote; our programs' JSON log lines become readable ones. */
  childLine(name: string, line: string): void;
}

export interface OutputOptions {
  write: (text: string) => void;
  colour: boolean;
}

const nameWidth = 8;

export function createOutput({ write, colour }: OutputOptions): Output {
  const paint = painter(colour);
  const prefixed = (name: string, code: number, text: string) => {
    const prefix = paint(code, `${name.padEnd(nameWidth)} │`);
    write(
      `${text
        .split("\n")
        .map((line) => `${prefix} ${line}`.trimEnd())
        .join("\n")}\n`,
    );
  };
  return {
    say: (text) => prefixed("flick", codes.bold, text),
    childLine: (name, line) => prefixed(name, colourOf(name), renderLine(line, paint)),
  };
}

/** The output of a program on the standard streams: in colour on a terminal, unless NO_COLOR is set (https://no-color.org). */
export function standardOutput(env: Record<string, string | undefined> = process.env): Output {
  const colour = process.stdout.isTTY && !env.NO_COLOR && env.TERM !== "dumb";
  return createOutput({ colour, write: (text) => void process.stdout.write(text) });
}

/** Seconds between a moment of `performance.now()` and now, as text: `0.42 s`. */
export function secondsSince(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(2)} s`;
}

type Paint = (code: number, text: string) => string;

const codes = { bold: 1, red: 31, yellow: 33, grey: 90 };
const nameColours = [36, 35, 34, 32, 96, 95, 94, 92];

function painter(colour: boolean): Paint {
  return colour ? (code, text) => `\u001B[${code}m${text}\u001B[0m` : (_code, text) => text;
}

/** Always the same colour for the same name. */
function colourOf(name: string): number {
  let sum = 0;
  for (const char of name) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 1_000_003;
  return nameColours[sum % nameColours.length] ?? 36;
}

function renderLine(line: string, paint: Paint): string {
  const entry = parseLogLine(line);
  if (entry === null) return printable(line);
  const { time, level, message, fields } = entry;
  const code = { error: codes.red, warn: codes.yellow }[level] ?? codes.grey;
  const details = Object.entries(fields).map(([key, value]) => paint(codes.grey, ` ${key}=`) + printable(brief(value)));
  const text = `${paint(codes.grey, time)} ${paint(code, level.padEnd(5))} ${printable(message)}${details.join("")}`;
  const stack = Object.values(fields)
    .map(stackOf)
    .find((found) => found !== undefined);
  return level === "error" && stack ? `${text}\n${paint(codes.grey, printable(stack))}` : text;
}

/** A line of `platform/log.ts`: JSON with time, level, program and message; null for anything else. */
function parseLogLine(line: string) {
  if (!line.startsWith("{")) return null;
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return null;
  }
  if (!isRecord(parsed)) return null;
  const { time, level, message, program: _program, ...fields } = parsed;
  if (typeof time !== "string" || typeof level !== "string" || typeof message !== "string") return null;
  const clock = new Date(time);
  return { time: Number.isNaN(clock.getTime()) ? time : clock.toTimeString().slice(0, 8), level, message, fields };
}

function brief(value: unknown): string {
  if (isRecord(value) && typeof value.message === "string") return JSON.stringify(value.message);
  if (typeof value === "string" && /^[^\s"=]+$/.test(value)) return value;
  return JSON.stringify(value) ?? String(value);
}

function stackOf(value: unknown): string | undefined {
  if (!isRecord(value) || typeof value.stack !== "string") return undefined;
  const cause = stackOf(value.cause);
  return cause === undefined ? value.stack : `${value.stack}\ncaused by ${cause}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Without characters that would move the cursor or repaint the terminal: what a child logs may come from a stranger. */
function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\u202A-\u202E\u2066-\u2069]/gu, (char) =>
    char === "\n" || char === "\t" ? char : "",
  );
}
