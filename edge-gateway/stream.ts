import type { JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { anyOrigin, type Fetch } from "./balanced-fetch.ts";
import { errorOf } from "./plain-call.ts";

interface StreamRequest {
  token: string | undefined;
  /** What is undefined is left out. */
  query: Record<string, string | undefined>;
  requestId: string;
  /** Aborts when the client goes away. */
  signal: AbortSignal;
}

/**
 * @param path one of proto/stream.ts.
 * @throws what the service answered, UNAVAILABLE when it cannot be reached, TIMEOUT when it does not answer.
 */
export type StreamRelay = (path: string, request: StreamRequest) => Promise<ReadableStream<Uint8Array>>;

/** For the answer to begin; the stream itself may last. */
const answerTimeoutMs = 10_000;

/** Opens streams of events at the services: what comes is passed on as it comes, and none of it is kept here. */
export function createStreamRelay(fetch: Fetch): StreamRelay {
  return async (path, { token, query, requestId, signal }) => {
    const url = new URL(path, anyOrigin);
    for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), answerTimeoutMs);
    try {
      const response = await fetch(url.href, {
        headers: { "x-request-id": requestId, ...(token ? { authorization: `Bearer ${token}` } : {}) },
        redirect: "manual",
        signal: AbortSignal.any([signal, late.signal]),
      });
      if (response.status === 200 && response.body) return response.body;
      const json = (await response.json().catch(() => null)) as JsonValue;
      throw errorOf(response.status, json);
    } catch (error) {
      if (error instanceof ConnectError) throw error;
      if (late.signal.aborted) throw flickError(Reason.TIMEOUT, "The stream did not begin in time.", error);
      throw new ConnectError("no answer from the origin", Code.Unavailable, undefined, undefined, error);
    } finally {
      clearTimeout(timer);
    }
  };
}
