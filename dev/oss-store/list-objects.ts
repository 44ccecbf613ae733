import { invalidArgument, notImplemented } from "./errors.ts";
import { etag } from "./get-object.ts";
import type { Objects } from "./objects.ts";
import { xmlDocument, type XmlElement } from "./xml.ts";

const maxPageLength = 1000;
const defaultPageLength = 100;

/**
 * ListObjectsV2: a page of a bucket as XML.
 *
 * @throws {OssError} InvalidArgument, NotImplemented
 */
export function listObjects(objects: Objects, bucket: string, query: ReadonlyMap<string, string>): string {
  for (const name of ["delimiter", "encoding-type", "fetch-owner"]) {
    if (query.get(name)) throw notImplemented(`listing with ${name}`);
  }
  const prefix = query.get("prefix") ?? "";
  const startAfter = query.get("start-after") ?? "";
  const token = query.get("continuation-token") ?? "";
  const limit = readMaxKeys(query.get("max-keys"));

  const found = objects.list(prefix, token === "" ? startAfter : readToken(token), limit + 1);
  const page = found.slice(0, limit);
  const isTruncated = found.length > limit;
  return xmlDocument("ListBucketResult", [
    ["Name", bucket],
    ["Prefix", prefix],
    ...optional("StartAfter", startAfter),
    ...optional("ContinuationToken", token),
    ["MaxKeys", String(limit)],
    ["IsTruncated", String(isTruncated)],
    ...optional("NextContinuationToken", isTruncated ? writeToken(page.at(-1)?.key ?? "") : ""),
    ...page.map((object): XmlElement => [
      "Contents",
      [
        ["Key", object.key],
        ["LastModified", new Date(object.modifiedAt).toISOString()],
        ["ETag", etag(object)],
        ["Type", object.etag.includes("-") ? "Multipart" : "Normal"],
        ["Size", String(object.size)],
        ["StorageClass", "Standard"],
      ],
    ]),
    ["KeyCount", String(page.length)],
  ]);
}

function readMaxKeys(text: string | undefined): number {
  if (text === undefined || text === "") return defaultPageLength;
  const length = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (length >= 1 && length <= maxPageLength) return length;
  throw invalidArgument(`max-keys must be from 1 to ${maxPageLength}.`, "max-keys", text);
}

/** A continuation token is the last key of the page before it. */
function writeToken(key: string): string {
  return Buffer.from(key).toString("base64url");
}

function readToken(token: string): string {
  const key = Buffer.from(token, "base64url").toString();
  if (writeToken(key) !== token)
    throw invalidArgument("The continuation token is not one of ours.", "continuation-token", token);
  return key;
}

function optional(name: string, text: string): XmlElement[] {
  return text === "" ? [] : [[name, text]];
}
