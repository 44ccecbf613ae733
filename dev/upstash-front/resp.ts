/**
 * RESP2, the protocol that Redis speaks unless it is asked for another. Upstash's answers have its shapes (HGETALL is a flat list),
 * and here every string keeps its bytes, which Bun's own client (RESP3, text) does not do.
 */
export type Reply = number | bigint | null | Status | Uint8Array | RedisError | Reply[];

/** A status reply such as OK. */
export class Status {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export class RedisError extends Error {
  override name = "RedisError";
}

export type Argument = string | Uint8Array;

export function encodeCommands(commands: readonly (readonly Argument[])[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const command of commands) {
    parts.push(Buffer.from(`*${command.length}\r\n`));
    for (const argument of command) {
      const bytes = typeof argument === "string" ? Buffer.from(argument) : argument;
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, lineEnd);
    }
  }
  return Buffer.concat(parts);
}

const lineEnd = Buffer.from("\r\n");
/** Of the bytes of one reply. */
const longestReply = 64 * 1024 * 1024;
const longestLine = 64 * 1024;
const deepest = 32;

/**
 * Makes a parser that is fed with what the server sends, in whatever pieces, and calls back for each whole reply.
 *
 * @returns throws from then on when what it is fed is not RESP2 or a reply is too large.
 */
export function createReplyParser(onReply: (reply: Reply) => void): (chunk: Uint8Array) => void {
  let chunks: Uint8Array[] = [];
  let available = 0;
  let taken = 0;
  const replies = (function* () {
    for (;;) {
      taken = 0;
      onReply(yield* reply(0));
    }
  })();
  replies.next();
  return (chunk) => {
    chunks.push(chunk);
    available += chunk.length;
    if (taken + available > longestReply) throw new Error(`a reply of Redis is larger than ${longestReply} bytes`);
    replies.next();
  };

  function* reply(depth: number): Generator<undefined, Reply> {
    const line = yield* readLine();
    const rest = line.slice(1);
    switch (line[0]) {
      case "+":
        return new Status(rest);
      case "-":
        return new RedisError(rest);
      case ":": {
        const number = Number(rest);
        return Number.isSafeInteger(number) ? number : BigInt(rest);
      }
      case "$":
        if (rest === "-1") return null;
        return (yield* read(Number(rest) + lineEnd.length)).subarray(0, -lineEnd.length);
      case "*": {
        if (rest === "-1") return null;
        if (depth === deepest) throw new Error(`a reply of Redis is nested deeper than ${deepest} levels`);
        const list: Reply[] = [];
        for (let i = Number(rest); i > 0; i--) list.push(yield* reply(depth + 1));
        return list;
      }
      default:
        throw new Error("Redis answered with something that is not RESP2");
    }
  }

  function* readLine(): Generator<undefined, string> {
    let length = 0;
    for (let i = 0; ; i++) {
      while (i >= chunks.length) yield;
      const end = chunks[i]?.indexOf(0x0a) ?? -1;
      if (end >= 0) return (yield* read(length + end + 1)).toString("utf8").trimEnd();
      length += chunks[i]?.length ?? 0;
      if (length > longestLine) throw new Error(`a line of Redis' reply is longer than ${longestLine} bytes`);
    }
  }

  function* read(length: number): Generator<undefined, Buffer> {
    while (available < length) yield;
    const parts: Uint8Array[] = [];
    for (let missing = length; missing > 0;) {
      const [first = lineEnd] = chunks;
      const part = first.subarray(0, missing);
      parts.push(part);
      missing -= part.length;
      if (part.length < first.length) chunks[0] = first.subarray(part.length);
      else chunks = chunks.slice(1);
    }
    available -= length;
    taken += length;
    return Buffer.concat(parts);
  }
}
