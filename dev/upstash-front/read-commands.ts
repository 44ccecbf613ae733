import { RequestError } from "./errors.ts";
import type { Command } from "./resp2.ts";

/** What one request may hold. */
const requestLimits = { bodyBytes: 2 ** 20, commands: 1000 };

/**
 * A request's whole body.
 *
 * @throws {RequestError} 413 when it is longer than the limit; what is left of it is not read.
 */
export async function readBody(request: Request): Promise<Buffer> {
  const announced = Number(request.headers.get("content-length") ?? 0);
  if (announced > requestLimits.bodyBytes) throw tooLong(announced);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.length;
    if (length > requestLimits.bodyBytes) throw tooLong(`${length} or more`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The command in the body of `POST /`: `["SET", "key", "value"]`. @throws {RequestError} */
export function readCommand(body: Buffer): Command {
  return toCommand(parse(body));
}

/** The commands in the body of `POST /pipeline` and `POST /multi-exec`: `[["SET", "key", "value"], …]`. @throws {RequestError} */
export function readCommands(body: Buffer): Command[] {
  const items = parse(body);
  if (!Array.isArray(items)) throw malformed("expected a JSON array of commands");
  if (items.length === 0) throw malformed("there is no command in the request");
  if (items.length > requestLimits.commands) {
    throw malformed(`too many commands in one request. Limit: ${requestLimits.commands}, Actual: ${items.length}`);
  }
  return items.map(toCommand);
}

/**
 * The command in a path, `/set/key/value?EX=100`; a body stands between the path and the query, so that it can be the value.
 *
 * @throws {RequestError} when the path is no percent-encoded UTF-8.
 */
export function readPathCommand(url: URL, body: Buffer): Command {
  const parts: (string | Uint8Array)[] = [];
  try {
    for (const part of url.pathname.slice(1).split("/")) parts.push(decodeURIComponent(part));
  } catch {
    throw malformed("the path is not percent-encoded UTF-8");
  }
  if (body.length > 0) parts.push(body);
  for (const [name, value] of url.searchParams) {
    if (name === "_token") continue;
    parts.push(name);
    if (value !== "") parts.push(value);
  }
  if (parts[0] === "") throw malformed("empty command");
  return parts;
}

/** JSON with its numbers as they are written, since Redis knows more digits than JavaScript. */
function parse(body: Buffer): unknown {
  if (body.length === 0) throw malformed("the request has no body");
  try {
    return JSON.parse(body.toString("utf8"), (_key, value: unknown, context?: { source?: string }) =>
      typeof value === "number" ? (context?.source ?? String(value)) : value,
    ) as unknown;
  } catch {
    throw malformed("the body is not JSON");
  }
}

function toCommand(value: unknown): Command {
  if (!Array.isArray(value)) throw malformed("a command is a JSON array: its name, then its arguments");
  if (value.length === 0 || value[0] === "") throw malformed("empty command");
  return value.map((part: unknown) => {
    if (typeof part === "string") return part;
    if (typeof part === "boolean") return String(part);
    throw malformed("the parts of a command are strings, numbers or booleans");
  });
}

function malformed(what: string): RequestError {
  return new RequestError(400, `ERR ${what}`);
}

function tooLong(actual: number | string): RequestError {
  const { bodyBytes } = requestLimits;
  return new RequestError(413, `ERR max request size exceeded. Limit: ${bodyBytes} bytes, Actual: ${actual} bytes`);
}
