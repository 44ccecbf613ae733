import { createHash } from "node:crypto";
import { basename, extname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { sniffBytes, sniffVideo } from "@flick/origin-services/video/sniff.ts";

import { ApiError, type ApiClient, type ApiUpload } from "./api-client.ts";

export interface UploadOptions {
  title: string;
  /** Parts in flight at once. Default 4. */
  parallel?: number;
  /** How often a part, or a call, is tried before the upload is given up for now. Default 6. */
  attempts?: number;
  /** Milliseconds before the second attempt; every further wait is twice as long. Default 500. */
  firstWaitMs?: number;
  onProgress?: (progress: UploadProgress) => void;
}

export interface UploadProgress {
  doing: "hashing" | "sending" | "publishing";
  /** Of `size`: hashed, or in object storage, those of earlier runs included. */
  bytes: number;
  size: number;
}

export interface UploadedVideo {
  videoId: number;
  /** There was a video of this file already: nothing was sent. */
  existed: boolean;
}

const maxTitleLength = 100;
/** `status_code`s of the API. */
const incomplete = 30006;
const hashChunkBytes = 4 * 2 ** 20;
/** A completion that finds parts missing sends these and asks again, so many times. */
const rounds = 5;
/** For one part to be taken. */
const partTimeoutMs = 10 * 60_000;

/**
 * Publishes a file by an upload in parts, straight to object storage. Whatever breaks it off, `kill -9` included: the next run with the
 * same file goes on where it was, because the server finds the upload by the file's SHA-256.
 *
 * @throws {ApiError} when the server refuses, {@link Error} with a sentence for a person when the file cannot be read, is no video, or
 * cannot be sent.
 */
export async function uploadFile(
  api: ApiClient,
  token: string,
  path: string,
  options: UploadOptions,
): Promise<UploadedVideo> {
  const { title, onProgress } = options;
  const file = Bun.file(path);
  if (!(await file.exists())) throw new Error(`${path}: there is no such file`);
  const { size } = file;
  const contentType = sniffVideo(await file.slice(0, sniffBytes).bytes());
  if (!contentType) throw new Error(`${path}: this is not a video that Flick takes (MP4, MOV, MKV or WebM)`);
  const sha256 = await hash(file, (bytes) => onProgress?.({ doing: "hashing", bytes, size }));
  const announced = { title, size, content_type: contentType, sha256 };

  for (let round = 1; ; round++) {
    const upload = await insist(() => api.beginUpload(token, announced), options);
    if (upload.video_id > 0) return { videoId: upload.video_id, existed: true };
    await sendParts(api, token, file, upload, options);
    onProgress?.({ doing: "publishing", bytes: size, size });
    try {
      const { video_id: videoId } = await insist(() => api.completeUpload(token, upload.upload_id), options);
      return { videoId, existed: false };
    } catch (error) {
      if (!(error instanceof ApiError) || error.statusCode !== incomplete || round === rounds) throw error;
    }
  }
}

/** What a video is called whose author does not say: as its file, as far as a title may be long. Characters stay whole. */
export function titleOf(path: string): string {
  return Array.from(basename(path, extname(path)).normalize("NFC"))
    .slice(0, maxTitleLength)
    .join("");
}

async function hash(file: Blob, onBytes: (bytes: number) => void): Promise<string> {
  const digest = createHash("sha256");
  for (let at = 0; at < file.size; at += hashChunkBytes) {
    digest.update(await file.slice(at, at + hashChunkBytes).bytes());
    onBytes(Math.min(at + hashChunkBytes, file.size));
  }
  return digest.digest("hex");
}

async function sendParts(
  api: ApiClient,
  token: string,
  file: Blob,
  begun: ApiUpload,
  options: UploadOptions,
): Promise<void> {
  const { parallel = 4, onProgress } = options;
  const { upload_id: uploadId, part_size: partSize, content_type: contentType } = begun;
  const queue = begun.parts.values();
  let sent = file.size - begun.parts.reduce((sum, part) => sum + part.size, 0);
  let urls = urlsOf(begun);
  const failed = new AbortController();
  const tell = () => onProgress?.({ doing: "sending", bytes: sent, size: file.size });

  /** Undefined for a part that is there already: an attempt whose answer was lost has brought it, or another run of ours. */
  async function urlOf(number: number): Promise<string | undefined> {
    if (Date.now() > urls.expireAt - partTimeoutMs / 10) {
      urls = urlsOf(await insist(() => api.beginUpload(token, { upload_id: uploadId }), options));
    }
    return urls.byNumber.get(number);
  }

  const lane = async () => {
    for (const { part_number: number, size } of queue) {
      const from = (number - 1) * partSize;
      const body = file.slice(from, from + size);
      await insist(async () => {
        failed.signal.throwIfAborted();
        const url = await urlOf(number);
        if (url === undefined) return;
        await putPart(url, body, contentType, failed.signal).catch((error: unknown) => {
          // New addresses for the next attempt, should these have expired.
          if (error instanceof PartRefused && error.status === 403) urls.expireAt = 0;
          throw error;
        });
      }, options).catch((error: unknown) => {
        failed.abort(error);
        throw error;
      });
      sent += size;
      tell();
    }
  };
  tell();
  await Promise.all(Array.from({ length: parallel }, lane));
}

function urlsOf(upload: ApiUpload) {
  return {
    byNumber: new Map(upload.parts.map(({ part_number: number, url }) => [number, url])),
    expireAt: upload.urls_expire_at,
  };
}

/** Object storage has answered, but not with success. */
class PartRefused extends Error {
  constructor(
    readonly status: number,
    xml: string,
  ) {
    const [code, message] = ["Code", "Message"].map(
      (name) => new RegExp(`<${name}>(.*?)</${name}>`, "s").exec(xml)?.[1],
    );
    super(`object storage refused a part: ${code ?? `HTTP ${status}`}${message ? `, ${message}` : ""}`);
  }
}

async function putPart(url: string, body: Blob, contentType: string, failed: AbortSignal): Promise<void> {
  const response = await fetch(url, {
    method: "PUT",
    body,
    headers: { "content-type": contentType },
    signal: AbortSignal.any([failed, AbortSignal.timeout(partTimeoutMs)]),
  });
  const answer = await response.text();
  if (!response.ok) throw new PartRefused(response.status, answer);
}

/** Tries again what may succeed later: no answer, and answers of an outage or of too many at once. */
async function insist<T>(
  call: () => Promise<T>,
  { attempts = 6, firstWaitMs = 500 }: Pick<UploadOptions, "attempts" | "firstWaitMs">,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (!mayPass(error) || attempt === attempts) throw explained(error, attempt);
      await sleep(firstWaitMs * 2 ** (attempt - 1) * (0.75 + Math.random() / 2));
    }
  }
}

function mayPass(error: unknown): boolean {
  if (error instanceof ApiError) return error.httpStatus >= 500;
  // A URL may have expired; the next attempt has another.
  if (error instanceof PartRefused) return error.status >= 500 || error.status === 403 || error.status === 429;
  const { name, code } = error as { name?: string; code?: string };
  return name === "TimeoutError" || typeof code === "string" || error instanceof SyntaxError;
}

function explained(error: unknown, attempts: number): unknown {
  if (error instanceof ApiError || attempts === 1) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new Error(`${why} (tried ${attempts} times; the same command goes on from here)`, { cause: error });
}
