import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { serviceTokenHeader } from "@flick/proto/upload.ts";

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
  return createGrpcWebTransport({
    baseUrl: options.baseUrl,
    defaultTimeoutMs: options.timeoutMs,
    interceptors: [
      (next) => async (request) => {
        request.header.set(serviceTokenHeader, await options.serviceToken());
        return next(request);
      },
    ],
  });
}
