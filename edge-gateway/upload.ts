import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorFromJson } from "@connectrpc/connect/protocol-connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { PublishResponseSchema, type PublishResponse } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { uploadPath } from "@flick/proto/upload.ts";

import { mediaType } from "./params.ts";

interface Upload {
  body: ReadableStream<Uint8Array> | null;
  contentType: string;
  /** Bytes of the body; unknown when the client sends it in chunks. */
  contentLength: number | undefined;
  /** Stands in for a title in the body. */
  title: string | undefined;
  /** Undefined when it is in the body. */
  token: string | undefined;
  requestId: string;
  signal: AbortSignal;
}

/** @throws what the video service answered, UNAVAILABLE when it does not, TIMEOUT when the upload is too slow. */
export type UploadRelay = (upload: Upload) => Promise<PublishResponse>;

/** Time for the video service to answer, on top of what the body may take. */
const answerTimeoutMs = 60_000;

/** A body that is slower than this (0.5 Mb/s) is given up. */
const slowestBytesPerMs = 64;

/** What a body of unknown length is taken for; the video service has the limit that counts. */
const assumedLength = 1024 ** 3;

/** Passes uploads on to the video service as they arrive: nothing of the body is kept here. */
export function createUploadRelay(baseUrl: string, limits = { answerTimeoutMs, slowestBytesPerMs }): UploadRelay {
  return async (upload) => {
    const url = new URL(`${baseUrl}${uploadPath}`);
    if (upload.title !== undefined) url.searchParams.set("title", upload.title);
    const timeout = AbortSignal.timeout(
      limits.answerTimeoutMs + Math.ceil((upload.contentLength ?? assumedLength) / limits.slowestBytesPerMs),
    );
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: headersOf(upload),
        body: upload.body,
        redirect: "manual",
        signal: AbortSignal.any([upload.signal, timeout]),
        ...halfDuplex,
      });
      return asPublished(response.status, await readJson(response));
    } catch (error) {
      if (error instanceof ConnectError) throw error;
      if (timeout.aborted) throw flickError(Reason.TIMEOUT, "The upload took too long.", error);
      throw new ConnectError("no answer from the origin", Code.Unavailable, undefined, undefined, error);
    }
  };
}

/** Other runtimes than workerd ask for it with a streamed body, and workerd's types do not know it. */
const halfDuplex: object = { duplex: "half" };

/** Not the client's other headers: an `expect` that is passed on would make the origin's `100 Continue` the answer. */
function headersOf({ contentType, contentLength, token, requestId }: Upload): Record<string, string> {
  return {
    "content-type": contentType,
    "x-request-id": requestId,
    ...(contentLength === undefined ? {} : { "content-length": String(contentLength) }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
}

/** What a status means when the answer has no error of ours in it, as that of a proxy in between. */
const codes: Partial<Record<number, Code>> = {
  429: Code.Unavailable,
  502: Code.Unavailable,
  503: Code.Unavailable,
  504: Code.DeadlineExceeded,
};

function asPublished(status: number, json: JsonValue): PublishResponse {
  const unknown = new ConnectError(`the origin answered HTTP ${status}`, codes[status] ?? Code.Internal);
  if (json === null) throw status === 413 ? flickError(Reason.TOO_LARGE, "The upload is too large.") : unknown;
  if (status !== 200) throw errorFromJson(json, undefined, unknown);
  try {
    return fromJson(PublishResponseSchema, json, { ignoreUnknownFields: true });
  } catch {
    throw unknown;
  }
}

const maxAnswerLength = 65_536;

/**
 * The JSON object of an answer; null when there is none. It is read only until it is whole: the end of an answer that comes before
 * the end of the upload, such as a refusal, is not seen in workerd until the client has sent everything.
 */
async function readJson(response: Response): Promise<JsonValue> {
  const reader = response.body?.getReader();
  if (!reader) return null;
  const decoder = new TextDecoder();
  let text = "";
  try {
    if (mediaType(response.headers.get("content-type") ?? "") !== "application/json") return null;
    while (text.length < maxAnswerLength) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      const json = parse(text);
      if (json !== null) return json;
    }
    return null;
  } finally {
    void reader.cancel().catch(() => {});
  }
}

function parse(text: string): JsonValue {
  try {
    const json: JsonValue = JSON.parse(text);
    return json;
  } catch {
    return null;
  }
}
