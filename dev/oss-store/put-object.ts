import { invalidArgument, notImplemented, OssError } from "./errors.ts";
import type { Acl, Bytes, Description, Objects, StoredObject, Written } from "./objects.ts";

/** Kept with the object and sent with it, as are `x-oss-meta-*`. */
const keptHeaders = new Set(["content-type", "cache-control", "content-disposition", "content-encoding", "expires"]);

/** OSS's own request headers that this store understands. Any other one asks for something that would not happen. */
const knownHeaders = new Set(["x-oss-date", "x-oss-content-sha256", "x-oss-object-acl", "x-oss-user-agent"]);

/**
 * PutObject: streams the body of a request to disk, at the disk's pace.
 *
 * @param maxBytes larger bodies are refused, before they are read when they announce their length.
 * @throws {OssError} EntityTooLarge, IncompleteBody, InvalidArgument, InvalidDigest, MissingContentLength, NotImplemented
 */
export async function putObject(
  objects: Objects,
  key: string,
  request: Request,
  maxBytes: number,
): Promise<StoredObject> {
  const { bytes, check } = readBody(request, maxBytes);
  return objects.put(key, readDescription(request.headers), bytes, check);
}

/**
 * The body of a request that stores something, and what checks it against its announcements once it is written.
 *
 * @throws {OssError} EntityTooLarge, IncompleteBody, InvalidDigest, MissingContentLength
 */
export function readBody(
  { headers, body }: Request,
  maxBytes: number,
): { bytes: Bytes; check: (written: Written) => void } {
  const length = announcedLength(headers);
  const digest = announcedDigest(headers);
  if (length !== null && length > maxBytes) throw tooLarge(maxBytes);
  const check = ({ size, md5 }: Written) => {
    if (length !== null && size !== length) {
      throw new OssError(400, "IncompleteBody", `The body has ${size} bytes and its Content-Length says ${length}.`);
    }
    if (digest !== null && !md5.equals(digest)) {
      const details = { ExpectedDigest: digest.toString("base64"), CalculatedDigest: md5.toString("base64") };
      const message = "The Content-MD5 you specified did not match what we received.";
      throw new OssError(400, "InvalidDigest", message, details);
    }
  };
  return { bytes: limited(body, maxBytes), check };
}

/** @throws {OssError} InvalidArgument, NotImplemented */
export function readDescription(headers: Headers): Description {
  const kept: Record<string, string> = { "content-type": "application/octet-stream" };
  for (const [name, value] of headers) {
    if (keptHeaders.has(name) || name.startsWith("x-oss-meta-")) kept[name] = value;
    else if (name.startsWith("x-oss-") && !knownHeaders.has(name)) throw notImplemented(`the header ${name}`);
  }
  return { acl: readAcl(headers.get("x-oss-object-acl") ?? "default"), headers: kept };
}

function readAcl(acl: string): Acl {
  if (acl === "default" || acl === "private" || acl === "public-read") return acl;
  throw invalidArgument("The object's ACL must be default, private or public-read.", "x-oss-object-acl", acl);
}

/** Null for a chunked body. */
function announcedLength(headers: Headers): number | null {
  const length = headers.get("content-length");
  if (length !== null) return Number(length);
  if (headers.get("transfer-encoding") !== null) return null;
  throw new OssError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
}

function announcedDigest(headers: Headers): Buffer | null {
  const text = headers.get("content-md5");
  if (text === null) return null;
  const digest = Buffer.from(text, "base64");
  if (digest.length === 16 && digest.toString("base64") === text) return digest;
  throw new OssError(400, "InvalidDigest", "The Content-MD5 you specified was invalid.");
}

async function* limited(body: ReadableStream<Uint8Array> | null, maxBytes: number): Bytes {
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    yield chunk;
  }
}

function tooLarge(maxBytes: number): OssError {
  const details = { MaxSizeAllowed: String(maxBytes) };
  return new OssError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.", details);
}
