import { createHash, randomBytes } from "node:crypto";

import { invalidArgument, notImplemented, OssError } from "./errors.ts";
import type { Objects, StoredObject } from "./objects.ts";
import { readBody, readDescription } from "./put-object.ts";
import type { Part, Upload } from "./upload-index.ts";
import { xmlDocument, type XmlElement } from "./xml.ts";

const maxPartNumber = 10_000;
/** All parts but the last. */
const minPartBytes = 100 * 1024;
const maxPageLength = 1000;
/** Ten thousand parts with their digests take under 2 MB. */
const maxListBytes = 4 * 2 ** 20;

type Query = ReadonlyMap<string, string>;

/**
 * OSS's multipart uploads: InitiateMultipartUpload, UploadPart, ListParts, CompleteMultipartUpload, AbortMultipartUpload and
 * ListMultipartUploads, with OSS's refusals.
 * Source: https://www.alibabacloud.com/help/en/oss/developer-reference/multipart-upload-operations/
 */
export function createMultipart(objects: Objects, bucket: string, maxObjectBytes: number) {
  const { uploads } = objects;

  return {
    /** @throws {OssError} InvalidArgument, NotImplemented */
    initiate(key: string, headers: Headers): string {
      if (headers.has("x-oss-object-acl")) throw notImplemented("an ACL for what is uploaded in parts");
      const id = randomBytes(16).toString("hex").toUpperCase();
      uploads.begin({ id, key, begunAt: Date.now(), ...readDescription(headers) });
      return xmlDocument("InitiateMultipartUploadResult", [
        ["Bucket", bucket],
        ["Key", key],
        ["UploadId", id],
      ]);
    },

    /** @throws {OssError} NoSuchUpload, InvalidArgument, and what PutObject throws for its body. */
    async uploadPart(key: string, query: Query, request: Request): Promise<Part> {
      const { id } = find(key, query);
      const number = readNumber(query, "partNumber", 1, maxPartNumber);
      const { bytes, check } = readBody(request, maxObjectBytes);
      const part = await objects.putPart(id, number, bytes, check);
      if (!part) throw noSuchUpload(id);
      return part;
    },

    /** @throws {OssError} NoSuchUpload, InvalidArgument */
    listParts(key: string, query: Query): string {
      const { id } = find(key, query);
      const limit = readNumber(query, "max-parts", 1, maxPageLength, maxPageLength);
      const after = readNumber(query, "part-number-marker", 0, maxPartNumber, 0);
      const found = uploads.parts(id).filter(({ number }) => number > after);
      const page = found.slice(0, limit);
      return xmlDocument("ListPartsResult", [
        ["Bucket", bucket],
        ["Key", key],
        ["UploadId", id],
        ["PartNumberMarker", String(after)],
        ["NextPartNumberMarker", String(page.at(-1)?.number ?? 0)],
        ["MaxParts", String(limit)],
        ["IsTruncated", String(found.length > limit)],
        ...page.map((part): XmlElement => [
          "Part",
          [
            ["PartNumber", String(part.number)],
            ["LastModified", new Date(part.modifiedAt).toISOString()],
            ["ETag", `"${part.etag}"`],
            ["Size", String(part.size)],
          ],
        ]),
      ]);
    },

    /** @throws {OssError} NoSuchUpload, MalformedXML, InvalidPart, InvalidPartOrder, EntityTooSmall */
    async complete(key: string, query: Query, request: Request): Promise<string> {
      const upload = find(key, query);
      const asked = readPartList(await readText(request));
      const parts = choose(asked, uploads.parts(upload.id));
      const digest = createHash("md5");
      for (const { etag } of parts) digest.update(Buffer.from(etag, "hex"));
      const etag = `${digest.digest("hex").toUpperCase()}-${parts.length}`;
      // While the list was read the upload may have ended.
      if (!uploads.get(upload.id)) throw noSuchUpload(upload.id);
      const object: StoredObject = objects.complete(upload, parts, etag);
      return xmlDocument("CompleteMultipartUploadResult", [
        ["Location", `http://${bucket}/${key}`],
        ["Bucket", bucket],
        ["Key", key],
        ["ETag", `"${object.etag}"`],
      ]);
    },

    /** @throws {OssError} NoSuchUpload */
    abort(key: string, query: Query): void {
      objects.abort(find(key, query).id);
    },

    /** @throws {OssError} InvalidArgument */
    list(query: Query): string {
      const prefix = query.get("prefix") ?? "";
      const limit = readNumber(query, "max-uploads", 1, maxPageLength, maxPageLength);
      const keyMarker = query.get("key-marker") ?? "";
      // Without an id: after all uploads to that key.
      const after = { key: keyMarker, id: query.get("upload-id-marker") || (keyMarker === "" ? "" : "\u{10FFFF}") };
      const found = uploads.list(prefix, after, limit + 1);
      const page = found.slice(0, limit);
      return xmlDocument("ListMultipartUploadsResult", [
        ["Bucket", bucket],
        ["KeyMarker", keyMarker],
        ["NextKeyMarker", page.at(-1)?.key ?? ""],
        ["NextUploadIdMarker", page.at(-1)?.id ?? ""],
        ["MaxUploads", String(limit)],
        ["IsTruncated", String(found.length > limit)],
        ...page.map((upload): XmlElement => [
          "Upload",
          [
            ["Key", upload.key],
            ["UploadId", upload.id],
            ["Initiated", new Date(upload.begunAt).toISOString()],
          ],
        ]),
      ]);
    },
  };

  function find(key: string, query: Query): Upload {
    const id = query.get("uploadId") ?? "";
    const upload = uploads.get(id);
    if (upload?.key !== key) throw noSuchUpload(id);
    return upload;
  }
}

/** The parts that the client names, as they are stored. */
function choose(asked: readonly { number: number; etag: string }[], stored: readonly Part[]): Part[] {
  const byNumber = new Map(stored.map((part) => [part.number, part]));
  let before = 0;
  const chosen = asked.map(({ number, etag }) => {
    if (number <= before) {
      throw new OssError(400, "InvalidPartOrder", "The list of parts was not in ascending order.");
    }
    before = number;
    const part = byNumber.get(number);
    if (!part || part.etag !== etag.replaceAll('"', "").toUpperCase()) {
      const message =
        "One or more of the specified parts could not be found or the specified entity tag might not match.";
      throw new OssError(400, "InvalidPart", message, { PartNumber: String(number), ETag: etag });
    }
    return part;
  });
  const small = chosen.slice(0, -1).find(({ size }) => size < minPartBytes);
  if (small) {
    const details = { ProposedSize: String(small.size), MinSizeAllowed: String(minPartBytes) };
    throw new OssError(400, "EntityTooSmall", "Your proposed upload smaller than the minimum allowed size.", details);
  }
  return chosen;
}

/** The list of parts in the body of a CompleteMultipartUpload. */
function readPartList(xml: string): { number: number; etag: string }[] {
  const parts = [...xml.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = ""]) => {
    const number = Number(/<PartNumber>\s*(\d{1,5})\s*<\/PartNumber>/.exec(part)?.[1] ?? 0);
    const etag = /<ETag>\s*(.*?)\s*<\/ETag>/s.exec(part)?.[1] ?? "";
    return { number, etag: etag.replaceAll("&quot;", '"').replaceAll("&#34;", '"') };
  });
  const valid = parts.every(({ number, etag }) => number >= 1 && number <= maxPartNumber && etag !== "");
  if (/<CompleteMultipartUpload[\s>]/.test(xml) && parts.length > 0 && valid) return parts;
  throw new OssError(400, "MalformedXML", "The XML you provided was not well-formed or did not validate.");
}

async function readText(request: Request): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of request.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > maxListBytes) {
      throw new OssError(400, "EntityTooLarge", `A list of parts has at most ${maxListBytes} bytes.`);
    }
  }
  return text + decoder.decode();
}

function readNumber(query: Query, name: string, least: number, most: number, missing?: number): number {
  const text = query.get(name) ?? "";
  if (text === "" && missing !== undefined) return missing;
  const number = /^\d{1,5}$/.test(text) ? Number(text) : -1;
  if (number >= least && number <= most) return number;
  throw invalidArgument(`${name} must be an integer between ${least} and ${most}.`, name, text);
}

function noSuchUpload(id: string): OssError {
  const message =
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
  return new OssError(404, "NoSuchUpload", message, { UploadId: id });
}
