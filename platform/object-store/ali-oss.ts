import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { rm, stat } from "node:fs/promises";
import type { Readable } from "node:stream";

import OSS from "ali-oss";

import {
  ObjectNotFound,
  type ObjectStore,
  type ObjectStoreOptions,
  ObjectTooLarge,
  type PutOptions,
  type StoredPart,
} from "./object-store.ts";
import { type Call, createTransport, type Transport } from "./transport.ts";

const defaultTimeouts = { answerMs: 10_000, stallMs: 60_000 };

const maxKeyBytes = 1023;
/** Of a file at once. */
const readBytes = 256 * 1024;
/** Keys in a page of a listing: OSS's maximum. */
const pageLength = 1000;

/**
 * An object store on Alibaba Cloud OSS, or on anything that speaks its protocol. Requests are signed with version 4 and name the
 * bucket by their host alone. Nothing is retried: callers know what may be repeated.
 *
 * @param timeouts milliseconds for an answer to a request without a body (default 10 s), and for any body to move (default 60 s).
 */
export function createObjectStore(options: ObjectStoreOptions, timeouts = defaultTimeouts): ObjectStore {
  const { bucket } = options;
  const transport = createTransport(timeouts);
  const client = createClient(options, options.endpoint, transport);
  const publicUrl = options.publicUrl ?? options.endpoint;
  const publicClient = createClient(options, publicUrl, transport);
  const edgeClient = options.edgeUrl ? createClient(options, options.edgeUrl, transport) : publicClient;

  return {
    async put(key, body, putOptions) {
      let source: Readable | undefined;
      try {
        await perform("put", key, putOptions.signal, async (call) => {
          const length = typeof body === "string" ? (await stat(body)).size : undefined;
          source = typeof body === "string" ? createReadStream(body, { highWaterMark: readBytes }) : body;
          watchSource(source, call);
          await client.request(putRequest(key, stepsOf(source), { ...putOptions, bucket, length, call }));
        });
      } finally {
        const begun = source ?? body;
        if (typeof begun !== "string") begun.destroy();
      }
    },

    async getFile(key, path, { maxBytes, signal }) {
      await perform("get", key, signal, async (call) => {
        call.maxBytes = maxBytes;
        const file = createWriteStream(path);
        try {
          await once(file, "open");
          await client.get(key, file, context(call));
        } catch (error) {
          file.destroy();
          await rm(path, { force: true });
          throw error;
        }
      });
    },

    async head(key) {
      try {
        const { res } = await perform("head", key, undefined, (call) => client.head(key, context(call)));
        const headers = new Headers(res.headers as Record<string, string>);
        return { size: Number(headers.get("content-length")), contentType: headers.get("content-type") ?? "" };
      } catch (error) {
        if (error instanceof ObjectNotFound) return null;
        throw error;
      }
    },

    async delete(key) {
      await perform("delete", key, undefined, (call) => client.delete(key, context(call)));
    },

    async list(prefix, after) {
      const query: OSS.ListV2ObjectsQuery = { "max-keys": pageLength };
      // A parameter without a value is signed in a way that OSS does not expect.
      if (prefix) query.prefix = prefix;
      if (after) query["start-after"] = after;
      const { objects } = await perform("list", `${prefix}*`, undefined, (call) => client.listV2(query, context(call)));
      return objects.map(({ name, size, lastModified }) => ({ key: name, size, modifiedAt: Date.parse(lastModified) }));
    },

    async readStart(key, count) {
      const { content } = await perform("get", key, undefined, (call) =>
        client.get(key, { headers: { Range: `bytes=0-${count - 1}` }, ...context(call) }),
      );
      // An object that is shorter than the range comes whole.
      return Buffer.isBuffer(content) ? content.subarray(0, count) : new Uint8Array();
    },

    async beginParts(key, { contentType }) {
      const begin = (call: Call) => client.initMultipartUpload(key, { mime: contentType, ...context(call) });
      return (await perform("begin parts of", key, undefined, begin)).uploadId;
    },

    async partUrl(key, uploadId, { number, size, contentType }, expiresSeconds) {
      requireKey(key);
      const headers = { "content-length": String(size), "content-type": contentType };
      const queries = { partNumber: String(number), uploadId };
      return publicClient.signatureUrlV4("PUT", expiresSeconds, { headers, queries }, key, ["content-length"]);
    },

    async listParts(key, uploadId) {
      const parts: StoredPart[] = [];
      for (;;) {
        const query = partsQuery(parts.at(-1)?.number);
        const page = await unlessEnded(
          perform("list parts of", key, undefined, (call) => client.listParts(key, uploadId, query, context(call))),
        );
        if (page === null) return null;
        // ali-oss gives what XML says: text, and one part that is alone as no list.
        for (const { PartNumber, Size, ETag } of [page.parts as unknown as XmlPart | XmlPart[]].flat()) {
          parts.push({ number: Number(PartNumber), size: Number(Size), etag: ETag });
        }
        if (String(page.isTruncated) !== "true") return parts;
      }
    },

    async completeParts(key, uploadId, parts) {
      const complete = (call: Call) =>
        client.completeMultipartUpload(
          key,
          uploadId,
          parts.map(({ number, etag }) => ({ number, etag })),
          context(call),
        );
      return (await unlessEnded(perform("complete", key, undefined, complete))) !== null;
    },

    async abortParts(key, uploadId) {
      await unlessEnded(
        perform("abort", key, undefined, (call) => client.abortMultipartUpload(key, uploadId, context(call))),
      );
    },

    async listUploads(prefix, after) {
      const query: OSS.ListUploadsQuery = { prefix, "max-uploads": pageLength };
      if (after) Object.assign(query, { "key-marker": after.key, "upload-id-marker": after.uploadId });
      const list = (call: Call) => client.listUploads(query, context(call));
      const { uploads } = await perform("list", `${prefix}*`, undefined, list);
      return uploads.map(({ name, uploadId, initiated }) => ({ key: name, uploadId, begunAt: Date.parse(initiated) }));
    },

    async putUrl(key, contentType, expiresSeconds) {
      requireKey(key);
      const headers = { "content-type": contentType };
      return edgeClient.signatureUrlV4("PUT", expiresSeconds, { headers }, key);
    },

    async deleteUrl(key, expiresSeconds) {
      requireKey(key);
      return edgeClient.signatureUrlV4("DELETE", expiresSeconds, undefined, key);
    },

    async signedUrl(key, expiresSeconds) {
      requireKey(key);
      return publicClient.signatureUrlV4("GET", expiresSeconds, undefined, key);
    },

    publicUrl(key) {
      requireKey(key);
      return `${publicUrl}/${key.split("/").map(encodeURIComponent).join("/")}`;
    },
  };
}

/** A part as ali-oss reads it out of a list. */
interface XmlPart {
  PartNumber: string;
  Size: string;
  ETag: string;
}

function partsQuery(after: number | undefined): OSS.ListPartsQuery {
  const query: Partial<OSS.ListPartsQuery> = { "max-parts": pageLength };
  // A parameter with the value 0 is signed like one without a value.
  if (after) query["part-number-marker"] = after;
  return query as OSS.ListPartsQuery;
}

/** Null when there is no such upload any more. */
async function unlessEnded<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    const { cause } = error as { cause?: { code?: string } };
    if (cause?.code === "NoSuchUpload") return null;
    throw error;
  }
}

/** What ali-oss's own methods are made of. Its `putStream` would lead every byte through a stream of its own, in small pieces. */
interface Client extends OSS {
  request(request: PutRequest): Promise<unknown>;
}

interface PutRequest {
  method: "PUT";
  bucket: string;
  object: string;
  mime: string;
  headers: Record<string, string>;
  stream: AsyncIterable<Uint8Array>;
  successStatuses: number[];
  ctx: Call;
}

function putRequest(
  object: string,
  stream: AsyncIterable<Uint8Array>,
  options: PutOptions & { bucket: string; length: number | undefined; call: Call },
): PutRequest {
  const { bucket, length, contentType: mime, cacheControl, call } = options;
  const headers: Record<string, string> = { "x-oss-object-acl": options.public ? "public-read" : "private" };
  if (cacheControl) headers["Cache-Control"] = cacheControl;
  if (length === undefined) headers["Transfer-Encoding"] = "chunked";
  else headers["Content-Length"] = String(length);
  return { method: "PUT", bucket, object, mime, headers, stream, successStatuses: [200], ctx: call };
}

function createClient(options: ObjectStoreOptions, endpoint: string, transport: Transport): Client {
  const { region, bucket, accessKeyId, accessKeySecret } = options;
  const clientOptions: OSS.Options & { urllib: Transport } = {
    region,
    bucket,
    accessKeyId,
    accessKeySecret,
    endpoint,
    cname: true,
    authorizationV4: true,
    urllib: transport,
  };
  return new OSS(clientOptions) as Client;
}

/** ali-oss hands `ctx` on to the transport with each request. */
function context(call: Call): OSS.RequestOptions & { ctx: Call } {
  return { ctx: call };
}

/** Makes the error of a stream the call's failure; an error that comes after the call goes unheard. */
function watchSource(source: Readable, call: Call): void {
  source.on("error", (error) => (call.sourceError ??= error));
  if (!source.readable) throw source.errored ?? new Error("the stream has ended or was closed before");
}

/** A stream without the error that it would raise when a call ends before it. */
function stepsOf(source: Readable): AsyncIterable<Uint8Array> {
  return source.iterator({ destroyOnReturn: false });
}

async function perform<T>(
  verb: string,
  key: string,
  signal: AbortSignal | undefined,
  run: (call: Call) => Promise<T>,
): Promise<T> {
  if (verb !== "list") requireKey(key);
  const call: Call = signal ? { signal } : {};
  try {
    return await run(call);
  } catch (error) {
    throw translate(call.sourceError ?? call.failure ?? error, verb, key, signal);
  }
}

function translate(error: unknown, verb: string, key: string, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof ObjectTooLarge) return error;
  const { code, message } = error instanceof Error ? (error as Error & { code?: string }) : { message: String(error) };
  if (code === "NoSuchKey") return new ObjectNotFound(`There is no object ${key}.`);
  return new Error(`object store: ${verb} ${key}: ${code ? `${code}: ` : ""}${message}`, { cause: error });
}

/** URL parsers take out `.` and `..`, so that they would be signed in one place and sent to another. */
function requireKey(key: string): void {
  const bytes = Buffer.byteLength(key);
  const allowed = bytes > 0 && bytes <= maxKeyBytes && !/^[/\\]/.test(key) && !/(^|\/)\.\.?(\/|$)/.test(key);
  if (!allowed) {
    throw new TypeError(
      `An object key has 1 to ${maxKeyBytes} bytes, begins neither with / nor \\, and has no segment . or ..`,
    );
  }
}
