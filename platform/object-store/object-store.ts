import type { Readable } from "node:stream";

/** The few calls on object storage that Flick needs; keys never start with a slash. */
export interface ObjectStore {
  /**
   * Stores an object in one step: it appears whole or not at all, also when the stream fails or the signal aborts.
   * @param body a path of a file, or a stream: never begun again, and destroyed with the call.
   */
  put(key: string, body: string | Readable, options: PutOptions): Promise<void>;

  /**
   * Downloads to a file, which is removed again on failure.
   *
   * @throws {ObjectNotFound}
   * @throws {ObjectTooLarge} when the object has more than `maxBytes`.
   */
  getFile(key: string, path: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<void>;

  /** Size in bytes and content type, or null when there is no such object. */
  head(key: string): Promise<{ size: number; contentType: string } | null>;

  /** Succeeds also when there is no such object. */
  delete(key: string): Promise<void>;

  /** Keys under a prefix in lexical order, at most 1 000 a page, after `after`. */
  list(prefix: string, after?: string): Promise<{ key: string; size: number; modifiedAt: number }[]>;

  /** The first bytes of an object, fewer when it has fewer. @throws {ObjectNotFound} */
  readStart(key: string, count: number): Promise<Uint8Array>;

  /** Begins an upload in parts, which becomes an object, as private as the bucket is, when it is completed. Returns its id. */
  beginParts(key: string, options: { contentType: string }): Promise<string>;

  /**
   * A URL under which its holder may PUT one part, once or again, for so many seconds. The signature covers the length of the body and its
   * content type.
   */
  partUrl(key: string, uploadId: string, part: PartRequest, expiresSeconds: number): Promise<string>;

  /** The parts that are there, by number; null when the upload has ended or never was. */
  listParts(key: string, uploadId: string): Promise<StoredPart[] | null>;

  /** Makes an object of these parts, in the order of their numbers. False when the upload has ended or never was. */
  completeParts(key: string, uploadId: string, parts: readonly StoredPart[]): Promise<boolean>;

  /** Ends an upload and deletes its parts. Succeeds also when there is no such upload. */
  abortParts(key: string, uploadId: string): Promise<void>;

  /** Uploads in parts that are under way, to keys under a prefix and after an upload, by key; at most 1 000 a page. */
  listUploads(prefix: string, after?: OpenUpload): Promise<OpenUpload[]>;

  /**
   * A URL under which gateways may PUT an object, as private as the bucket is, for so many seconds: the request must begin by then. The signature
   * covers the content type.
   */
  putUrl(key: string, contentType: string, expiresSeconds: number): Promise<string>;

  /** A URL under which gateways may DELETE an object for so many seconds. */
  deleteUrl(key: string, expiresSeconds: number): Promise<string>;

  /** A URL that lets its holder read a private object for so many seconds. */
  signedUrl(key: string, expiresSeconds: number): Promise<string>;

  /** The lasting URL of a public object. */
  publicUrl(key: string): string;
}

export interface PutOptions {
  contentType: string;
  /** Anybody may read it under its public URL. Default: only with a signed URL. */
  public?: boolean;
  cacheControl?: string;
  signal?: AbortSignal;
}

export interface PartRequest {
  /** 1 to 10 000. */
  number: number;
  /** Bytes; at least 100 KiB in all parts but the last. */
  size: number;
  contentType: string;
}

export interface StoredPart {
  number: number;
  size: number;
  etag: string;
}

export interface OpenUpload {
  key: string;
  uploadId: string;
  /** Milliseconds since 1970. */
  begunAt: number;
}

export class ObjectNotFound extends Error {
  override name = "ObjectNotFound";
}

export class ObjectTooLarge extends Error {
  override name = "ObjectTooLarge";
  constructor(maxBytes: number) {
    super(`The object is larger than the ${maxBytes} bytes that were allowed.`);
  }
}

export interface ObjectStoreOptions {
  /** Where our programs reach the bucket, for example `http://localhost:8091` or `https://bucket.oss-region.example`. */
  endpoint: string;
  /** Where players reach the bucket; usually a CDN in front of it. Default: the endpoint. */
  publicUrl?: string;
  /** Where gateways reach the bucket. Default: the public URL. */
  edgeUrl?: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  accessKeySecret: string;
}
