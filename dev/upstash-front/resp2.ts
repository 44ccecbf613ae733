/** What Redis answers in RESP2: a status is a string, a bulk string its bytes. An integer beyond 2^53 is a bigint. */
export type Reply = string | Buffer | number | bigint | null | ReplyError | Reply[];

/** An error that Redis answered with; its message begins with a code, as `WRONGTYPE`. */
export class ReplyError extends Error {
  override name = "ReplyError";
}

/** The parts of a command: its name, then its arguments. Strings are sent as UTF-8. */
export type Command = readonly (string | Uint8Array)[];

/** A part of a command as text. */
export function text(part: string | Uint8Array): string {
  return typeof part === "string" ? part : Buffer.from(part).toString("utf8");
}

/** Arrays within arrays, at most. */
const maxDepth = 128;

/** Commands as the array of bulk strings that RESP wants. */
export function encodeCommands(commands: readonly Command[]): Buffer {
  const pieces: Uint8Array[] = [];
  for (const command of commands) {
    pieces.push(Buffer.from(`*${command.length}\r\n`));
    for (const part of command) {
      const bytes = typeof part === "string" ? Buffer.from(part) : part;
      pieces.push(Buffer.from(`$${bytes.length}\r\n`), bytes, lineEnd);
    }
  }
  return Buffer.concat(pieces);
}

/**
 * Reads replies from a connection's bytes, however they are cut into chunks.
 * The protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
 *
 * @returns takes the next chunk; throws when the bytes are no RESP2 or arrays nest too deep.
 */
export function createReplyReader(onReply: (reply: Reply) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let buffered = 0;
  /** So many bytes must be there before it is worth looking again. */
  let needed = 1;
  /** Arrays that are not complete yet, the innermost last. */
  const open: { items: Reply[]; length: number }[] = [];

  return (chunk) => {
    chunks.push(chunk);
    buffered += chunk.length;
    if (buffered < needed) return;
    const bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks);
    let at = 0;
    for (;;) {
      const next = readValue(bytes, at);
      if (typeof next === "number") {
        needed = next;
        break;
      }
      at = next.end;
      if (next.opens > 0) {
        if (open.length >= maxDepth) throw new Error(`a reply of Redis nests deeper than ${maxDepth} arrays`);
        open.push({ items: [], length: next.opens });
      } else {
        close(next.value);
      }
    }
    const rest = bytes.subarray(at);
    chunks = rest.length > 0 ? [rest] : [];
    buffered = rest.length;
  };

  /** Puts a complete value where it belongs. */
  function close(value: Reply): void {
    let complete = value;
    for (let array = open.at(-1); array; array = open.at(-1)) {
      array.items.push(complete);
      if (array.items.length < array.length) return;
      complete = array.items;
      open.pop();
    }
    onReply(complete);
  }
}

interface Value {
  value: Reply;
  /** Not 0: the value is an array with so many items, which follow. */
  opens: number;
  /** Where the next value begins. */
  end: number;
}

/** The value at `from`, or how many bytes from there on must be known before it can be read. */
function readValue(bytes: Buffer, from: number): Value | number {
  const lineLength = bytes.indexOf("\r\n", from) - from;
  if (lineLength < 0) return bytes.length - from + 1;
  const line = bytes.toString("utf8", from + 1, from + lineLength);
  const end = from + lineLength + lineEnd.length;
  switch (String.fromCharCode(bytes[from] ?? 0)) {
    case "+":
      return { value: line, opens: 0, end };
    case "-":
      return { value: new ReplyError(line), opens: 0, end };
    case ":":
      return { value: integer(line), opens: 0, end };
    case "*": {
      const length = size(line);
      return { value: length < 0 ? null : [], opens: Math.max(0, length), end };
    }
    case "$": {
      const length = size(line);
      if (length < 0) return { value: null, opens: 0, end };
      const bulkEnd = end + length + lineEnd.length;
      if (bytes.length < bulkEnd) return bulkEnd - from;
      return { value: bytes.subarray(end, end + length), opens: 0, end: bulkEnd };
    }
    default:
      throw new Error("the server's answer is not RESP2");
  }
}

const lineEnd = Buffer.from("\r\n");

function integer(digits: string): number | bigint {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : BigInt(digits);
}

function size(digits: string): number {
  const value = Number(digits);
  if (!Number.isSafeInteger(value) || value < -1) throw new Error("the server's answer is not RESP2");
  return value;
}
