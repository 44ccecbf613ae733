import { randomBytes } from "node:crypto";

import type { Log } from "@flick/platform/log.ts";

import { accessDenied, errorXml, notImplemented, OssError } from "./errors.ts";
import { contentMd5, etag, send } from "./get-object.ts";
import { listObjects } from "./list-objects.ts";
import { createMultipart } from "./multipart.ts";
import { openObjects, type StoredObject } from "./objects.ts";
import { putObject } from "./put-object.ts";
import { readTarget } from "./request-target.ts";
import { createAuthenticator } from "./signature.ts";

export interface OssStoreOptions {
  /** A folder of its own; made when it is missing. */
  dataDir: string;
  /** 0 takes a free one. */
  port: number;
  /** Default 127.0.0.1. */
  hostname?: string;
  /** The one bucket that it serves, as a custom domain name does: neither host nor path names it. */
  bucket: string;
  region: string;
  accessKeyId: string;
  accessKeySecret: string;
  log: Log;
  /** Default: OSS's limit for one PutObject, 5 GiB. */
  maxObjectBytes?: number;
}

export interface OssStore {
  /** The endpoint for ali-oss with `cname: true` and `authorizationV4: true`. It names no IP address: ali-oss signs for none. */
  url: string;
  /** Takes no more requests, lets those at work end within 5 s, and gives the folder free. */
  stop(): Promise<void>;
}

const drainMs = 5000;
/** Seconds without a byte moved after which a connection is cut. */
const idleTimeoutSeconds = 120;

/**
 * An OSS-compatible object store on disk for the local stack and for tests: PutObject, GetObject, HeadObject, DeleteObject,
 * ListObjectsV2 and multipart uploads under signature version 4, with OSS's errors. Anybody may read objects whose ACL is public-read.
 *
 * @throws when the port is taken or another store works on the folder.
 */
export function createOssStore(options: OssStoreOptions): OssStore {
  const { dataDir, port, hostname = "127.0.0.1", bucket, log, maxObjectBytes = 5 * 2 ** 30 } = options;
  const objects = openObjects(dataDir);
  const multipart = createMultipart(objects, bucket, maxObjectBytes);
  const authenticate = createAuthenticator(options);

  async function answer(request: Request): Promise<Response> {
    const { method, headers } = request;
    if (method === "OPTIONS") return preflight();
    const { key, query } = readTarget(request.url);
    if (isHealthCheck(request, key, query)) return new Response("ok\n");

    const isOwner = authenticate({ method, key, query, headers }, Date.now()) === "owner";
    const read = method === "GET" || method === "HEAD";
    if (!isOwner && (key === "" || !read)) throw accessDenied("Anonymous access is forbidden for this operation.");
    if (query.has("uploads") || query.has("uploadId")) {
      if (!isOwner) throw accessDenied("Anonymous access is forbidden for this operation.");
      return answerMultipart(request, key, query);
    }
    for (const name of query.keys()) if (foreignParameters.has(name)) throw notImplemented(`the parameter ${name}`);

    if (key === "") {
      if (method !== "GET" || query.get("list-type") !== "2") throw notImplemented("this operation on a bucket");
      return xml(listObjects(objects, bucket, query));
    }
    if (read) return send(objects, readable(objects.find(key), key, isOwner), request);
    if (method === "PUT") return describe(await putObject(objects, key, request, maxObjectBytes));
    if (method !== "DELETE") throw new OssError(405, "MethodNotAllowed", "The specified method is not allowed.");
    objects.remove(key);
    return new Response(null, { status: 204 });
  }

  async function answerMultipart(request: Request, key: string, query: ReadonlyMap<string, string>): Promise<Response> {
    const what = `${request.method} ${key === "" ? "bucket" : "object"} ${query.has("uploads") ? "uploads" : "upload"}`;
    switch (what) {
      case "GET bucket uploads":
        return xml(multipart.list(query));
      case "POST object uploads":
        return xml(multipart.initiate(key, request.headers));
      case "PUT object upload": {
        const part = await multipart.uploadPart(key, query, request);
        const md5 = Buffer.from(part.etag, "hex").toString("base64");
        return new Response(null, { headers: { etag: `"${part.etag}"`, "content-md5": md5 } });
      }
      case "GET object upload":
        return xml(multipart.listParts(key, query));
      case "POST object upload":
        return xml(await multipart.complete(key, query, request));
      case "DELETE object upload":
        multipart.abort(key, query);
        return new Response(null, { status: 204 });
      default:
        throw new OssError(405, "MethodNotAllowed", "The specified method is not allowed.");
    }
  }

  async function handle(request: Request): Promise<Response> {
    const requestId = randomBytes(12).toString("hex").toUpperCase();
    const response = await answer(request).catch((error: unknown) => refuse(error, request, requestId));
    for (const [name, value] of Object.entries(corsHeaders)) response.headers.set(name, value);
    response.headers.set("x-oss-request-id", requestId);
    log.debug("request", { method: request.method, status: response.status, requestId });
    return response;
  }

  function refuse(error: unknown, request: Request, requestId: string): Response {
    const known = error instanceof OssError ? error : internalError;
    // Nobody hears the answer to a request that was aborted, and its failure is not ours.
    if (known === internalError && !request.signal.aborted) log.error("request failed", { error, requestId });
    const body = errorXml(known, requestId, bucket);
    const headers = new Headers({ "content-type": "application/xml" });
    // What is left of a body is not read.
    if (request.body) headers.set("connection", "close");
    if (request.method !== "HEAD") return new Response(body, { status: known.status, headers });
    headers.set("x-oss-err", Buffer.from(body).toString("base64"));
    return new Response(null, { status: known.status, headers });
  }

  const server = serve();
  let stopped: Promise<void> | undefined;
  return {
    url: `http://${["127.0.0.1", "0.0.0.0"].includes(hostname) ? "localhost" : hostname}:${server.port}`,
    stop: () => (stopped ??= stop()),
  };

  function serve() {
    try {
      return Bun.serve({
        port,
        hostname,
        fetch: handle,
        error(error) {
          log.error("answer failed", { error });
          return new Response(errorXml(internalError, "", bucket), { status: internalError.status });
        },
        idleTimeout: idleTimeoutSeconds,
        // putObject has the limit: Bun's own would answer without a body.
        maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      });
    } catch (error) {
      void objects.close();
      throw error;
    }
  }

  async function stop(): Promise<void> {
    const cut = setTimeout(() => void server.stop(true), drainMs);
    await server.stop();
    clearTimeout(cut);
    await server.stop(true);
    await objects.close();
  }
}

/** Parts of OSS that a query can ask for and that this store does not have; it ignores unknown parameters, as OSS does. */
const foreignParameters = new Set(
  (
    "acl append callback delete objectMeta partNumber restore symlink tagging uploadId uploads versionId versions " +
    "response-cache-control response-content-disposition response-content-encoding response-content-language " +
    "response-content-type response-expires x-oss-process x-oss-traffic-limit"
  ).split(" "),
);

const internalError = new OssError(500, "InternalError", "We encountered an internal error. Please try again.");

const corsHeaders = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers":
    "accept-ranges, content-length, content-range, content-type, etag, last-modified, x-oss-request-id",
};

function preflight(): Response {
  const headers = {
    "access-control-allow-methods": "GET, HEAD, PUT, POST, DELETE",
    "access-control-allow-headers": "*, authorization",
    "access-control-max-age": "3600",
  };
  return new Response(null, { status: 200, headers });
}

function isHealthCheck({ method, headers }: Request, key: string, query: ReadonlyMap<string, string>): boolean {
  return key === "healthz" && method === "GET" && query.size === 0 && !headers.has("authorization");
}

/** A stranger learns nothing about private objects, not even whether there is one. */
function readable(object: StoredObject | null, key: string, isOwner: boolean): StoredObject {
  if (!isOwner && object?.acl !== "public-read") {
    throw accessDenied("You have no right to access this object because of bucket acl.");
  }
  if (object === null) throw new OssError(404, "NoSuchKey", "The specified key does not exist.", { Key: key });
  return object;
}

const xml = (text: string) => new Response(text, { headers: { "content-type": "application/xml" } });

function describe(object: StoredObject): Response {
  return new Response(null, { headers: { etag: etag(object), "content-md5": contentMd5(object) ?? "" } });
}
