import type { JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { streamPath } from "@flick/proto/stream.ts";

import { anyOrigin, type Fetch } from "./balanced-fetch.ts";
import { errorOf } from "./plain-call.ts";

interface StreamRequest {
  token: string | undefined;
  /** Only what this person sends; 0n for everybody. */
  peerId: bigint;
  /** Where to go on, as an `id:` of the stream or a message's `create_time`. */
  since: string | undefined;
  requestId: string;
  /** Aborts when the client goes away. */
  signal: AbortSignal;
}

/** @throws what the message service answered, UNAVAILABLE when it cannot be reached, TIMEOUT when it does not answer. */
export type StreamRelay = (request: StreamRequest) => Promise<ReadableStream<Uint8Array>>;

/** For the answer to begin; the stream itself may last. */
const answerTimeoutMs = 10_000;

/** Opens live streams of messages at the message service: what comes is passed on as it comes, and none of it is kept here. */
export function createStreamRelay(fetch: Fetch): StreamRelay {
  return async ({ token, peerId, since, requestId, signal }) => {
    const url = new URL(streamPath, anyOrigin);
    if (peerId > 0n) url.searchParams.set("peer_id", String(peerId));
    if (since) url.searchParams.set("since", since);
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
