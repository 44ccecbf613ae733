import { createConnectRouter } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";

import { createUnaryHandlers, isBinaryGrpcWeb, type FetchHandler, type UnaryHandlerOptions } from "./unary-handler.ts";

/**
 * Serves gRPC-web over the fetch API: unary calls in binary form by our own handler, which costs a sixth of Connect's, and everything
 * else (streams, messages in JSON) by Connect's, through the same interceptors. Other media types are answered with 415.
 *
 * @returns a handler for each method, by its path.
 */
export function createRpcHandlers(options: UnaryHandlerOptions): Map<string, FetchHandler> {
  const router = createConnectRouter({
    grpc: false,
    connect: false,
    grpcWeb: true,
    interceptors: [...options.interceptors],
    readMaxBytes: options.maxMessageBytes,
    maxTimeoutMs: options.maxCallMs,
  });
  options.routes(router);
  const unaryHandlers = createUnaryHandlers(options);
  return new Map(
    router.handlers.map((handler) => {
      const unary = unaryHandlers.get(handler.requestPath);
      const other = createFetchHandler(handler);
      return [handler.requestPath, (request) => (unary && isBinaryGrpcWeb(request) ? unary : other)(request)];
    }),
  );
}
