import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { createFinder, heldBack } from "./find-delimiter.ts";
import type { ByteSource } from "./large-reads.ts";

/** A part of a multipart/form-data body, while it arrives. */
export interface Part {
  /** Of the field; null where the part does not say. */
  name: string | null;
  /** Null for a text field. Empty when the sender of a form chose no file: browsers send an empty one then. */
  fileName: string | null;
  /** Media type in lower case; empty where the part does not say. */
  type: string;
  charset: Charset;
  /** The next bytes of its body, null at its end. */
  next(): Promise<Uint8Array | null>;
}

/** As the runtime's types have it. What a sender says may be none. */
type Charset = NonNullable<ConstructorParameters<typeof TextDecoder>[0]>;

/** The longest that RFC 2046 allows. */
const maxBoundaryLength = 70;
const maxHeaderBytes = 8192;
const maxHeaderLines = 20;
/** Before the first part and after the last one, where nothing should be. */
const maxAroundBytes = 8192;

/**
 * Reads a multipart/form-data body (RFC 7578), which is taken from the network as far as its reader asks, and handed on without being copied.
 *
 * @yields its parts, whose bytes are good until the next are asked for; what is left of one when the next part is asked for is skipped.
 * @throws INVALID_PARAMETER for a body that is malformed, cut, or overlong where its form is not the sender's choice.
 */
export async function* readMultipart(source: ByteSource, contentType: string): AsyncGenerator<Part, void, undefined> {
  const delimiter = encode(`\r\n--${boundaryOf(contentType)}`);
  const find = createFinder(delimiter);
  // A delimiter at the very beginning is then like every other one.
  let buffer: Uint8Array = encode("\r\n");
  let ended = false;

  async function more(): Promise<void> {
    const bytes = await read(buffer);
    if (!bytes) throw cut();
    buffer = bytes;
  }

  async function read(rest: Uint8Array): Promise<Uint8Array | null> {
    try {
      const bytes = await source.more(rest);
      ended = bytes === null;
      return bytes;
    } catch (error) {
      throw cut(error);
    }
  }

  /** Up to the next delimiter, which is taken away: its bytes as they come, then null. */
  async function nextBytes(): Promise<Uint8Array | null> {
    for (;;) {
      const at = find(buffer);
      const free = at < 0 ? buffer.length - heldBack(buffer, delimiter) : at;
      if (free > 0) return take(free);
      if (at === 0) {
        take(delimiter.length);
        return null;
      }
      await more();
    }
  }

  function take(count: number): Uint8Array {
    const taken = buffer.subarray(0, count);
    buffer = buffer.subarray(count);
    return taken;
  }

  /** What stands between a delimiter and the body of its part; null after the last delimiter. */
  async function nextHead(): Promise<string | null> {
    while (buffer.length < 2) await more();
    if (buffer[0] === dash && buffer[1] === dash) return null;
    for (;;) {
      const at = findHeadEnd(buffer.subarray(0, maxHeaderBytes + headEnd.length));
      if (at < 0 && buffer.length > maxHeaderBytes) {
        throw bad(`the headers of a part may have at most ${maxHeaderBytes} bytes`);
      }
      if (at >= 0) {
        const head = new TextDecoder().decode(take(at));
        take(headEnd.length);
        return head;
      }
      await more();
    }
  }

  try {
    await skip(nextBytes, maxAroundBytes);
    for (let head = await nextHead(); head !== null; head = await nextHead()) {
      let done = false;
      const next = async () => {
        if (done) return null;
        const bytes = await nextBytes();
        done = bytes === null;
        return bytes;
      };
      yield { ...readHead(head), next };
      await skip(next);
    }
    // The connection is of use again only when all is read.
    for (let left = maxAroundBytes - buffer.length; left >= 0;) {
      const bytes = await read(nothing);
      if (!bytes) return;
      left -= bytes.length;
    }
    throw bad(`the form may go on for at most ${maxAroundBytes} bytes after its end`);
  } finally {
    if (!ended) source.cancel();
  }
}

const encode = (text: string) => new TextEncoder().encode(text);
const nothing = new Uint8Array();
const dash = 0x2d;
const headEnd = encode("\r\n\r\n");
const findHeadEnd = createFinder(headEnd);

async function skip(next: () => Promise<Uint8Array | null>, maxBytes = Infinity): Promise<void> {
  let size = 0;
  for (let bytes = await next(); bytes; bytes = await next()) {
    size += bytes.length;
    if (size > maxBytes) throw bad(`the form may have at most ${maxBytes} bytes before its first part`);
  }
}

/** @throws UNSUPPORTED_MEDIA_TYPE, INVALID_PARAMETER */
function boundaryOf(contentType: string): string {
  const [type, params] = readParams(contentType);
  if (type !== "multipart/form-data") {
    throw flickError(Reason.UNSUPPORTED_MEDIA_TYPE, "the body must be multipart/form-data");
  }
  const boundary = params.get("boundary") ?? "";
  if (boundary === "" || boundary.length > maxBoundaryLength) {
    throw bad(`content-type: its boundary is missing, or longer than ${maxBoundaryLength} characters`);
  }
  return boundary;
}

function readHead(head: string): Omit<Part, "next"> {
  const [padding = "", ...lines] = head.split("\r\n");
  if (padding.trim() !== "") throw bad(malformed);
  if (lines.length > maxHeaderLines) throw bad(`a part may have at most ${maxHeaderLines} headers`);
  const headers = new Map(
    lines.map((line) => {
      const at = line.indexOf(":");
      return [line.slice(0, Math.max(0, at)).trim().toLowerCase(), line.slice(at + 1).trim()] as const;
    }),
  );
  const [disposition, about] = readParams(headers.get("content-disposition") ?? "");
  const [type, { charset = "utf-8" }] = withNames(readParams(headers.get("content-type") ?? ""));
  const isField = disposition === "form-data";
  return {
    name: isField ? (about.get("name") ?? null) : null,
    fileName: about.get("filename") ?? about.get("filename*") ?? null,
    type,
    charset,
  };
}

const withNames = ([value, params]: [string, Map<string, string>]) =>
  [value, Object.fromEntries(params) as { charset?: Charset }] as const;

/** A header's value in lower case, and its parameters by their names: `form-data; name="title"`. */
function readParams(header: string): [value: string, params: Map<string, string>] {
  const [value = ""] = header.split(";", 1);
  const params = new Map<string, string>();
  const param = /;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))\s*/gy;
  param.lastIndex = value.length;
  for (let found = param.exec(header); found; found = param.exec(header)) {
    const [, name = "", quoted, plain = ""] = found;
    params.set(name.toLowerCase(), quoted === undefined ? plain.trim() : quoted.replace(/\\(.)/g, "$1"));
  }
  return [value.trim().toLowerCase(), params];
}

const malformed = "the form is not valid multipart/form-data, or it ended early";
const cut = (cause?: unknown) => bad(malformed, cause);
const bad = (message: string, cause?: unknown) => flickError(Reason.INVALID_PARAMETER, message, cause);
