import { fromJson, type DescMessage, type JsonValue, type MessageShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { UpdateUserResponseSchema } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { PublishResponseSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { profileUploadPath, uploadPath } from "@flick/proto/upload.ts";

import { anyOrigin, type Fetch } from "./balanced-fetch.ts";
import type { GatewayContext } from "./endpoint.ts";
import { mediaType, queryParams, tokenFrom } from "./params.ts";
import { errorOf } from "./plain-call.ts";

/** Where an upload goes, and what it is answered with. */
interface UploadTarget<Answer extends DescMessage> {
  path: string;
  answer: Answer;
  /** The text field that the query may have in place of the body. */
  text: string;
  /** What a body of unknown length is taken for; the service has the limit that counts. */
  assumedLength: number;
}

export const videoUpload = {
  path: uploadPath,
  answer: PublishResponseSchema,
  text: "title",
  assumedLength: 1024 ** 3,
};

export const profileUpload = {
  path: profileUploadPath,
  answer: UpdateUserResponseSchema,
  text: "signature",
  assumedLength: 32 * 1024 ** 2,
};

interface Upload {
  body: ReadableStream<Uint8Array> | null;
  contentType: string;
  /** Bytes of the body; unknown when the client sends it in chunks. */
  contentLength: number | undefined;
  /** Stands in for the text field in the body. */
  text: string | undefined;
  /** Undefined when it is in the body. */
  token: string | undefined;
  requestId: string;
  signal: AbortSignal;
}

/** @throws what the service answered, UNAVAILABLE when it does not, TIMEOUT when the upload is too slow. */
export type UploadRelay<Answer> = (upload: Upload) => Promise<Answer>;

/** Time for the service to answer, on top of what the body may take. */
const answerTimeoutMs = 60_000;

/** A body that is slower than this (0.5 Mb/s) is given up. */
const slowestBytesPerMs = 64;

/** Room in an upload's body for its boundaries and its other fields; the limit is about the file. */
const multipartOverhead = 64 * 1024;

/**
 * The upload in a request. Nothing of the body is read here: a token or a text in it is for the service to find.
 *
 * @throws UNSUPPORTED_MEDIA_TYPE, TOO_LARGE.
 */
export function uploadFrom(c: GatewayContext, { text }: { text: string }, maxUploadBytes: number): Upload {
  const { headers, body, signal, url } = c.req.raw;
  const contentType = headers.get("content-type") ?? "";
  if (mediaType(contentType) !== "multipart/form-data") {
    throw flickError(Reason.UNSUPPORTED_MEDIA_TYPE, "The body must be multipart/form-data.");
  }
  const declared = headers.get("content-length");
  const contentLength = declared === null ? undefined : Number(declared);
  if (contentLength !== undefined && contentLength > maxUploadBytes + multipartOverhead) {
    throw flickError(Reason.TOO_LARGE, `The file may have at most ${maxUploadBytes} bytes.`);
  }
  const params = queryParams(url, text);
  const token = tokenFrom(headers, params);
  return { body, contentType, contentLength, text: params.get(text), token, requestId: c.get("requestId"), signal };
}

/** Passes uploads on to their service as they arrive: nothing of the body is kept here. */
export function createUploadRelay<Answer extends DescMessage>(
  fetch: Fetch,
  target: UploadTarget<Answer>,
  limits = { answerTimeoutMs, slowestBytesPerMs },
): UploadRelay<MessageShape<Answer>> {
  return async (upload) => {
    const url = new URL(target.path, anyOrigin);
    if (upload.text !== undefined) url.searchParams.set(target.text, upload.text);
    const timeout = AbortSignal.timeout(
      limits.answerTimeoutMs + Math.ceil((upload.contentLength ?? target.assumedLength) / limits.slowestBytesPerMs),
    );
    try {
      const response = await fetch(url.href, {
        method: "POST",
        headers: headersOf(upload),
        body: upload.body,
        redirect: "manual",
        signal: AbortSignal.any([upload.signal, timeout]),
        ...halfDuplex,
      });
      return asMessage(target.answer, response.status, await readJson(response));
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

function asMessage<Answer extends DescMessage>(schema: Answer, status: number, json: JsonValue): MessageShape<Answer> {
  if (json === null && status === 413) throw flickError(Reason.TOO_LARGE, "The upload is too large.");
  if (json === null || status !== 200) throw errorOf(status, json);
  try {
    return fromJson(schema, json, { ignoreUnknownFields: true });
  } catch {
    throw errorOf(status, null);
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
