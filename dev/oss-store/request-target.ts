import { invalidArgument, OssError } from "./errors.ts";

/** What a URL asks for: the key (empty for the bucket itself) and the query, both decoded. */
export interface RequestTarget {
  key: string;
  query: ReadonlyMap<string, string>;
}

const maxKeyBytes = 1023;

/** @throws {OssError} InvalidObjectName, InvalidArgument */
export function readTarget(url: string): RequestTarget {
  const { pathname, search } = new URL(url);
  const key = decode(pathname.slice(1));
  if (key === null || !isAllowedKey(key)) {
    const message = `An object's name has 1 to ${maxKeyBytes} bytes of UTF-8, begins neither with / nor with \\, and has no control characters.`;
    throw new OssError(400, "InvalidObjectName", message);
  }
  return { key, query: readQuery(search.slice(1)) };
}

function readQuery(text: string): Map<string, string> {
  const query = new Map<string, string>();
  // A plus is a space, as in forms: several SDKs write it so.
  for (const part of text
    .replaceAll("+", " ")
    .split("&")
    .filter((item) => item !== "")) {
    const at = part.includes("=") ? part.indexOf("=") : part.length;
    const name = decode(part.slice(0, at));
    const value = decode(part.slice(at + 1));
    if (name === null || value === null) throw invalidArgument("The query is not percent-encoded UTF-8.", "query", "");
    // Two values for one name would let a signature mean one of them and the answer the other.
    if (query.has(name)) throw invalidArgument("A query parameter may be given once.", name, "");
    query.set(name, value);
  }
  return query;
}

function isAllowedKey(key: string): boolean {
  return Buffer.byteLength(key) <= maxKeyBytes && !/^[/\\]|[\p{Cc}\uFFFE\uFFFF]/u.test(key);
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
