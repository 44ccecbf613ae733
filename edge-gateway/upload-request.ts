import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { inBackground } from "./background.ts";
import type { GatewayContext } from "./endpoint.ts";
import { mediaType, queryParams, tokenFrom } from "./params.ts";
import type { Upload } from "./upload.ts";

/**
 * The upload in a request. Nothing of the body is read here.
 *
 * @throws UNSUPPORTED_MEDIA_TYPE.
 */
export function uploadFrom(c: GatewayContext, text: string, maxFileBytes: number): Upload {
  const { headers, body, signal, url } = c.req.raw;
  const contentType = headers.get("content-type") ?? "";
  if (mediaType(contentType) !== "multipart/form-data") {
    throw flickError(Reason.UNSUPPORTED_MEDIA_TYPE, "The body must be multipart/form-data.");
  }
  const declared = headers.get("content-length");
  const contentLength = declared === null ? undefined : Number(declared);
  const params = queryParams(url, text);
  const bearer = tokenFrom(headers, new Map());
  return {
    body,
    contentType,
    contentLength,
    maxFileBytes,
    text: params.get(text),
    token: bearer ?? tokenFrom(headers, params),
    bodyWins: bearer === undefined,
    requestId: c.get("requestId"),
    signal,
    inBackground: (work) => inBackground(c, work),
  };
}
