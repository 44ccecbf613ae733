import type { Transport } from "@connectrpc/connect";
import { serviceTokenHeader } from "@flick/proto/service-token.ts";

import { createReplicaFetch } from "./replica-fetch.ts";
import { createUnaryTransport } from "./rpc/unary-transport.ts";

/** Batches of services are bounded by their number; this is far above the longest. */
const maxAnswerBytes = 16 * 1024 * 1024;

const fetch = createReplicaFetch();

/**
 * The way from one of our programs to a service in another: unary gRPC-web with a service token on every call.
 *
 * @param timeoutMs deadline of calls that bring none of their own.
 */
export function createServiceTransport(options: {
  baseUrl: string;
  serviceToken: () => Promise<string>;
  timeoutMs: number;
}): Transport {
  return createUnaryTransport({
    baseUrl: options.baseUrl,
    fetch,
    timeoutMs: options.timeoutMs,
    maxAnswerBytes,
    interceptors: [
      (next) => async (request) => {
        request.header.set(serviceTokenHeader, await options.serviceToken());
        return next(request);
      },
    ],
  });
}
