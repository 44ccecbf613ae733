import { OssError } from "./errors.ts";
import type { Objects, StoredObject } from "./objects.ts";

/** What to answer to a GET or HEAD of an object: status, headers, and which bytes (null: none). */
interface ReadPlan {
  status: 200 | 206 | 304;
  headers: Record<string, string>;
  /** First byte, and the one after the last. */
  bytes: { from: number; to: number } | null;
}

/** Ranges of an object of several files that are not larger are put together in memory. */
const maxJoinedBytes = 2 ** 20;

/** Answers a GetObject or HeadObject. @throws {OssError} as {@link planRead} does. */
export async function send(objects: Objects, object: StoredObject, request: Request): Promise<Response> {
  const { status, headers, bytes } = planRead(object, request.headers);
  if (request.method !== "GET" || bytes === null || bytes.to <= bytes.from)
    return new Response(null, { status, headers });
  const slices = slicesOf(object, bytes);
  if (slices.length === 1) return new Response(slices[0], { status, headers });
  if (bytes.to - bytes.from <= maxJoinedBytes) {
    const parts = await Promise.all(slices.map((slice) => slice.arrayBuffer()));
    return new Response(new Blob(parts), { status, headers });
  }
  // Bun.serve tells the length of a file, and not that of a stream of several.
  return new Response(slicesOf(await objects.merge(object), bytes)[0], { status, headers });
}

/** The pieces of an object's files that a range of its bytes is made of. */
function slicesOf({ segments }: StoredObject, { from, to }: { from: number; to: number }): Blob[] {
  let begin = 0;
  return segments.flatMap(({ path, size }) => {
    const [first, end] = [Math.max(from - begin, 0), Math.min(to - begin, size)];
    begin += size;
    return first < end ? [Bun.file(path).slice(first, end)] : [];
  });
}

/**
 * GetObject and HeadObject, as data.
 *
 * @throws {OssError} PreconditionFailed; InvalidRange only under `x-oss-range-behavior: standard`.
 */
function planRead(object: StoredObject, request: Headers): ReadPlan {
  const headers = describe(object);
  if (!preconditionsHold(object, request)) {
    const message = "At least one of the pre-conditions you specified did not hold.";
    throw new OssError(412, "PreconditionFailed", message);
  }
  if (isUnchanged(object, request)) return { status: 304, headers, bytes: null };

  const range = readRange(request.get("range"), object.size, request.get("x-oss-range-behavior") === "standard");
  const { from, to } = range ?? { from: 0, to: object.size };
  headers["content-length"] = String(to - from);
  if (range === null) return { status: 200, headers, bytes: { from, to } };
  headers["content-range"] = `bytes ${from}-${to - 1}/${object.size}`;
  return { status: 206, headers, bytes: { from, to } };
}

export function etag(object: StoredObject): string {
  return `"${object.etag.toUpperCase()}"`;
}

/** Null for an object of parts, whose MD5 nobody has calculated. */
export function contentMd5(object: StoredObject): string | null {
  return object.etag.includes("-") ? null : Buffer.from(object.etag, "hex").toString("base64");
}

function describe(object: StoredObject): Record<string, string> {
  const md5 = contentMd5(object);
  return {
    ...object.headers,
    etag: etag(object),
    "last-modified": new Date(object.modifiedAt).toUTCString(),
    "accept-ranges": "bytes",
    ...(md5 === null ? {} : { "content-md5": md5 }),
    "x-oss-object-type": md5 === null ? "Multipart" : "Normal",
  };
}

function preconditionsHold(object: StoredObject, request: Headers): boolean {
  const match = request.get("if-match");
  if (match !== null) return namesEtag(match, object);
  const unmodifiedSince = readDate(request.get("if-unmodified-since"));
  return unmodifiedSince === null || wholeSeconds(object.modifiedAt) <= unmodifiedSince;
}

function isUnchanged(object: StoredObject, request: Headers): boolean {
  const noneMatch = request.get("if-none-match");
  if (noneMatch !== null) return namesEtag(noneMatch, object);
  const modifiedSince = readDate(request.get("if-modified-since"));
  return modifiedSince !== null && wholeSeconds(object.modifiedAt) <= modifiedSince;
}

function namesEtag(list: string, object: StoredObject): boolean {
  const bare = (tag: string) => tag.trim().replace(/^W\//, "").replaceAll('"', "");
  return list.split(",").some((tag) => bare(tag) === "*" || bare(tag) === bare(etag(object)));
}

function readDate(text: string | null): number | null {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? null : time;
}

/** HTTP dates have no milliseconds. */
function wholeSeconds(time: number): number {
  return Math.floor(time / 1000) * 1000;
}

/**
 * The range to send, or null for the whole object. OSS honours the first range of several, and answers one that it cannot
 * understand or that leaves the object with the whole object; `x-oss-range-behavior: standard` makes it follow the HTTP standard.
 * Source: https://www.alibabacloud.com/help/en/oss/how-to-obtain-oss-resources-by-segmenting-http-range-requests
 */
function readRange(header: string | null, size: number, standard: boolean): { from: number; to: number } | null {
  const [, first = "", last = ""] = /^bytes=(\d{0,15})-(\d{0,15})(?:,|$)/.exec(header?.replaceAll(" ", "") ?? "") ?? [];
  if (first === "" && last === "") return null;
  const from = first === "" ? size - Number(last) : Number(first);
  const to = first === "" || last === "" ? size : Number(last) + 1;
  if (from >= 0 && from < to && to <= size) return { from, to };
  const reversed = first !== "" && last !== "" && from >= to;
  if (reversed || !standard) return null;
  if (from < size && size > 0) return { from: Math.max(from, 0), to: size };
  const details = { ActualObjectSize: String(size), RangeRequested: header ?? "" };
  throw new OssError(416, "InvalidRange", "The requested range cannot be satisfied.", details);
}
