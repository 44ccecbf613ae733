import type { Readable } from "node:stream";

import { create, toJson } from "@bufbuild/protobuf";
import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { PublishResponseSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { uploadPath } from "@flick/proto/upload.ts";
import { sql } from "drizzle-orm";

import type { Context } from "../context.ts";
import { identify, publicError, type Identities } from "../interceptors.ts";
import { readForm } from "./form.ts";
import { makeRawKey } from "./raw-key.ts";
import { sniffBytes, sniffVideo } from "./sniff.ts";

const maxTitleLength = 100;
const maxUploads = 64;
/** Uploads at once whose sender is not known until the form's end, because the token follows the file. */
const maxUnknownSenders = 16;
/** Room in the body for boundaries and for the other fields. */
const multipartOverhead = 64 * 1024;

export interface UploadOptions {
  identities: Identities;
  maxFileBytes: number;
}

/**
 * The streaming upload of proto/upload.ts: the file goes straight on to object storage, then one transaction inserts the row that
 * is also the media worker's job. The answer waits for nothing else.
 */
export function createUploadHandler(context: Context, options: UploadOptions): (request: Request) => Promise<Response> {
  const { log } = context;
  let uploads = 0;
  let unknownSenders = 0;

  return async (request) => {
    try {
      const videoId = await admit(request);
      return Response.json(toJson(PublishResponseSchema, create(PublishResponseSchema, { videoId: BigInt(videoId) })));
    } catch (error) {
      const requestId = request.headers.get("x-request-id") ?? undefined;
      const known = publicError(error, log, { method: uploadPath, requestId });
      // Without `connection: close`: it would cut off the rest of the body, and the refusal with it before the gateway has read it.
      return Response.json(errorToJson(known, undefined), { status: codeToHttpStatus(known.code) });
    }
  };

  /** Refuses what can be refused before the body is read. */
  async function admit(request: Request): Promise<number> {
    if (request.method !== "POST") throw flickError(Reason.METHOD_NOT_ALLOWED, "an upload is a POST");
    const { viewerId } = await identify(request.headers, options.identities);
    if (Number(request.headers.get("content-length") ?? 0) > options.maxFileBytes + multipartOverhead) {
      throw flickError(Reason.TOO_LARGE, `data: at most ${options.maxFileBytes} bytes`);
    }
    if (!request.body) throw flickError(Reason.MISSING_FILE, "data: the file is missing");
    if (uploads >= maxUploads || (!viewerId && unknownSenders >= maxUnknownSenders)) {
      throw flickError(Reason.BUSY, "too many uploads at once: try again");
    }
    uploads++;
    if (!viewerId) unknownSenders++;
    try {
      return await publish(context, options, request, viewerId);
    } finally {
      uploads--;
      if (!viewerId) unknownSenders--;
    }
  }
}

async function publish(context: Context, options: UploadOptions, request: Request, knownId: number): Promise<number> {
  const { objects, log } = context;
  const id = context.newId();
  const rawKey = makeRawKey(id);
  const query = new URL(request.url).searchParams;
  let stored = false;
  let row: { viewerId: number; title: string };
  try {
    const { fields, file } = await readForm(request, {
      fileField: "data",
      maxFileBytes: options.maxFileBytes,
      async takeFile(stream, before) {
        // What came before the file may already tell that there is no use in reading on.
        if (!knownId && before.has("token")) await viewerOf(before);
        if (before.has("title")) checkTitle(before.get("title"));
        const contentType = sniffVideo(await peek(stream, sniffBytes));
        if (!contentType)
          throw flickError(Reason.NOT_A_VIDEO, "data: this is not a video that we can read (MP4, MOV, MKV or WebM)");
        await objects.put(rawKey, stream, { contentType, signal: request.signal });
        stored = true;
      },
    });
    row = {
      viewerId: knownId || (await viewerOf(fields)),
      title: checkTitle(fields.get("title") ?? query.get("title")),
    };
    if (file === null) throw flickError(Reason.MISSING_FILE, "data: the file is missing");
  } catch (error) {
    if (stored)
      await objects.delete(rawKey).catch((cause: unknown) => log.warn("upload not deleted", { error: cause }));
    throw error;
  }
  // From here on the object stays, whatever happens: after a failed commit nobody knows whether the row is there. If it is not,
  // the sweep of uploads finds the object.
  await insertVideo(context, { id, rawKey, ...row });
  return id;

  function viewerOf(fields: ReadonlyMap<string, string>): Promise<number> {
    const token = fields.get("token");
    if (!token) throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
    return options.identities.viewer(token);
  }
}

async function insertVideo(
  { db, now }: Context,
  video: { id: number; rawKey: string; viewerId: number; title: string },
): Promise<void> {
  const { id, rawKey, viewerId: authorId, title } = video;
  const createdAt = now();
  await transact(db, async (tx) => {
    await tx.insert(videos).values({ id, authorId, title, rawKey, status: "uploaded", createdAt, jobDueAt: createdAt });
    await tx
      .insert(workCounts)
      .values({ userId: authorId, count: 1 })
      .onDuplicateKeyUpdate({ set: { count: sql`${workCounts.count} + 1` } });
  });
}

function checkTitle(text: string | null | undefined): string {
  const title = (text ?? "").normalize("NFC").trim();
  if (!title) throw flickError(Reason.INVALID_PARAMETER, "title: is missing");
  if (Array.from(title).length > maxTitleLength)
    throw flickError(Reason.INVALID_PARAMETER, `title: at most ${maxTitleLength} characters`);
  return title;
}

/** The first bytes of a stream, which stay in it; fewer when it ends before. */
async function peek(stream: Readable, count: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  while (length < count && !stream.readableEnded) {
    const chunk: Buffer | null = stream.read();
    if (chunk) {
      chunks.push(chunk);
      length += chunk.length;
    } else {
      await moreOf(stream);
    }
  }
  const head = Buffer.concat(chunks);
  if (head.length > 0 && !stream.readableEnded) stream.unshift(head);
  return head;
}

function moreOf(stream: Readable): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error | null) => {
      for (const event of ["readable", "end"]) stream.off(event, onMore);
      for (const event of ["error", "close"]) stream.off(event, onEnd);
      if (error) reject(error);
      else resolve();
    };
    const onMore = () => settle();
    const onEnd = (error?: Error) => settle(error ?? new Error("the upload ended early"));
    for (const event of ["readable", "end"]) stream.on(event, onMore);
    for (const event of ["error", "close"]) stream.on(event, onEnd);
  });
}
