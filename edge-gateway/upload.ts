import { ConnectError, type CallOptions } from "@connectrpc/connect";
import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { AdmittedFile } from "@flick/proto/gen/flick/upload/v1/admitted_file_pb.ts";

import { concat, readForm, tooLarge, type FormFile } from "./form.ts";
import { openBytes, type ByteSource } from "./large-reads.ts";
import { consoleLog } from "./log.ts";
import { tokenFrom, type Params } from "./params.ts";
import { storeFile } from "./store-file.ts";

/** A form with files, and what its service makes of it. */
export interface UploadKind<Answer> {
  /** Each takes one file. */
  fileFields: readonly string[];
  /** The text field that the query may have in place of the body. */
  text: string;
  /** What a body of unknown length is taken for; the service has the limit that counts. */
  assumedLength: number;
  /** Asks for leave to store a file. @param text undefined when it has not come yet. */
  admit(file: { field: string; head: Uint8Array }, text: string | undefined, call: CallOptions): Promise<AdmittedFile>;
  /** Makes the upload so. @param tickets of the files, by their fields. */
  commit(tickets: Params, text: string | undefined, call: CallOptions): Promise<Answer>;
}

export interface Upload {
  body: ReadableStream<Uint8Array> | null;
  contentType: string;
  /** Bytes of the body; unknown when the client sends it in chunks. */
  contentLength: number | undefined;
  /** Of a file; the service may have a lower limit. */
  maxFileBytes: number;
  /** Stands in for the text field in the body. */
  text: string | undefined;
  /** Undefined when it is in the body. */
  token: string | undefined;
  /** That token is the query's: one in the body counts for more. */
  bodyWins: boolean;
  requestId: string;
  signal: AbortSignal;
  /** Has work go on when the client is gone. */
  inBackground(work: Promise<void>): void;
}

/** @throws TOO_LARGE, what the service answered, UNAVAILABLE when it or the store does not, TIMEOUT when the upload is too slow, BUSY. */
export type Uploader<Answer> = (upload: Upload) => Promise<Answer>;

/** Time for the service and the store to answer, on top of what the body may take. */
const answerTimeoutMs = 60_000;
/** For the store to take a piece. */
const storeStallMs = 60_000;
/** A body that is slower than this (0.5 Mb/s) is given up. */
const slowestBytesPerMs = 64;
const commitTimeoutMs = 20_000;
const deleteTimeoutMs = 10_000;

/** At once, of a kind, in each isolate. */
const maxUploads = 64;
/** Of them, those whose sender is not known until the form's end, because the token follows the file. */
const maxUnknownSenders = 16;
/** The largest piece of a file that is held of each, 32 MiB of all; the runtime may hold as much again. Larger ones leave the processor's cache. */
const pieceBytes = 512 * 1024;

/** How many bytes of a file its service wants to see. */
const headBytes = 64;
/** Room in an upload's body for its boundaries and its other fields; the limit is about the file. */
const multipartOverhead = 64 * 1024;

/**
 * Takes uploads: reads the form while it comes, stores its files straight in object storage, each with the leave of the service, and has
 * the service make the upload so. Nothing of a file goes through the origin, and nothing of one that is refused stays.
 */
export function createUploader<Answer>(
  kind: UploadKind<Answer>,
  limits = { answerTimeoutMs, stallMs: storeStallMs, slowestBytesPerMs, maxUploads, maxUnknownSenders },
): Uploader<Answer> {
  /** Until when each may last: of one whose isolate has lost interest in its request, the end is never seen. */
  const open = new Set<{ until: number; isKnown: boolean }>();

  function enter(upload: Upload, until: number): () => void {
    const now = Date.now();
    for (const each of open) if (each.until < now) open.delete(each);
    const isKnown = upload.token !== undefined;
    const unknown = [...open].filter((each) => !each.isKnown).length;
    if (open.size >= limits.maxUploads || (!isKnown && unknown >= limits.maxUnknownSenders)) {
      throw flickError(Reason.BUSY, "too many uploads at once: try again");
    }
    const entry = { until, isKnown };
    open.add(entry);
    return () => void open.delete(entry);
  }

  return async (upload) => {
    const { contentLength, maxFileBytes } = upload;
    if ((contentLength ?? 0) > maxFileBytes + multipartOverhead) {
      throw flickError(Reason.TOO_LARGE, `The file may have at most ${maxFileBytes} bytes.`);
    }
    const ms = limits.answerTimeoutMs + Math.ceil((contentLength ?? kind.assumedLength) / limits.slowestBytesPerMs);
    const leave = enter(upload, Date.now() + ms);
    const timeout = AbortSignal.timeout(ms);
    const signal = AbortSignal.any([upload.signal, timeout]);
    const source = upload.body && openBytes(upload.body, pieceBytes);
    const ended = Promise.withResolvers<never>();
    const end = () => {
      source?.cancel();
      ended.reject(
        timeout.aborted
          ? flickError(Reason.TIMEOUT, "The upload took too long.")
          : flickError(Reason.UNAVAILABLE, "The client is gone."),
      );
    };
    signal.addEventListener("abort", end, { once: true });
    const received = receive(kind, upload, source, { signal, stallMs: limits.stallMs }).finally(() => {
      signal.removeEventListener("abort", end);
      leave();
    });
    // Also for what there is to clean up.
    upload.inBackground(received.then(ignore, ignore));
    return Promise.race([received, ended.promise]);
  };
}

const ignore = () => {};

async function receive<Answer>(
  kind: UploadKind<Answer>,
  upload: Upload,
  source: ByteSource | null,
  { signal, stallMs }: { signal: AbortSignal; stallMs: number },
): Promise<Answer> {
  const { fileFields, text: textField } = kind;
  const { contentType, contentLength, maxFileBytes, requestId } = upload;
  const admitted: AdmittedFile[] = [];
  let { token } = upload;
  let isCommitting = false;

  const call = (timeoutMs?: number): CallOptions => ({
    signal,
    headers: { "x-request-id": requestId, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });

  /** The one that counts, by the fields that have come. @throws UNAUTHENTICATED when it could not travel in a header. */
  function tokenAmong(fields: Params): string | undefined {
    if (token !== undefined && !upload.bodyWins) return token;
    return fields.get("token") ? tokenFrom(noHeaders, fields) : token;
  }

  async function takeFile(file: FormFile, before: Params): Promise<string | null> {
    // What came before the file may already tell that there is no use in reading on.
    token = tokenAmong(before);
    const { head, all } = await peek(file.bytes, headBytes);
    if (file.name === "" && head.length === 0) return null;
    const permit = await kind.admit({ field: file.field, head }, before.get(textField), call());
    const maxBytes = Math.min(Number(permit.maxBytes), maxFileBytes);
    if ((contentLength ?? 0) > maxBytes * fileFields.length + multipartOverhead) throw tooLarge(file.field, maxBytes);
    file.limit(maxBytes);
    admitted.push(permit);
    await storeFile(permit, all, { signal, stallMs });
    return permit.ticket;
  }

  try {
    const { fields, files } = source
      ? await readForm({ source, contentType }, { fileFields, maxFileBytes, takeFile })
      : { fields: new Map<string, string>(), files: new Map<string, string | null>() };
    token = tokenAmong(fields);
    if (token === undefined) throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
    const chosen = [...files].flatMap(([field, ticket]) => (ticket === null ? [] : [[field, ticket] as const]));
    const commit = call(commitTimeoutMs);
    isCommitting = true;
    return await kind.commit(new Map(chosen), fields.get(textField) ?? upload.text, commit);
  } catch (error) {
    // When nobody knows whether the upload was made so, its files stay. If it was not, the sweep of uploads finds them.
    if (!isCommitting || isRefusal(error)) await Promise.all(admitted.map((file) => discard(file, requestId)));
    throw error;
  }
}

const noHeaders = new Headers();

/** Faults of ours and of the way to the service leave open what became of a call. */
const faults = new Set([Reason.INTERNAL, Reason.UNAVAILABLE, Reason.TIMEOUT, Reason.BUSY]);
const isRefusal = (error: unknown) => error instanceof ConnectError && !faults.has(reasonOf(error));

async function discard({ deleteUrl }: AdmittedFile, requestId: string): Promise<void> {
  try {
    const signal = AbortSignal.timeout(deleteTimeoutMs);
    const { status } = await fetch(deleteUrl, { method: "DELETE", redirect: "manual", signal });
    if (status !== 204) consoleLog.warn("upload not deleted", { status, request_id: requestId });
  } catch {
    // Without what the runtime says, which may hold the URL.
    consoleLog.warn("upload not deleted", { request_id: requestId });
  }
}

/** The first bytes, fewer when there are not so many, and all of them from the beginning. */
async function peek(bytes: AsyncIterable<Uint8Array>, count: number) {
  const rest = bytes[Symbol.asyncIterator]();
  let first: Uint8Array = new Uint8Array();
  while (first.length < count) {
    // What comes next may come in the same memory.
    const kept = first.slice();
    const { done, value } = await rest.next();
    first = done || kept.length > 0 ? concat(kept, value ?? new Uint8Array()) : value;
    if (done) break;
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    if (first.length > 0) yield first;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  }
  return { head: first.slice(0, count), all: all() };
}
