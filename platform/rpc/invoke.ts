import { create, type DescService } from "@bufbuild/protobuf";
import {
  createContextValues,
  createMethodImplSpec,
  createServiceImplSpec,
  type ConnectRouter,
  type HandlerContext,
  type Interceptor,
  type MethodImplSpec,
  type UnaryRequest,
  type UnaryResponse,
} from "@connectrpc/connect";

import type { Deadline } from "./deadline.ts";
import { intercept } from "./intercept.ts";

/** A unary method and its implementation; `impl` of a method that its service leaves out throws UNIMPLEMENTED. */
export type UnaryMethod = Extract<MethodImplSpec, { kind: "unary" }>;

/** What a handler says beside its message: also when it then throws. */
export interface Metadata {
  header: Headers;
  trailer: Headers;
}

/** The unary methods of the services that `routes` adds to a Connect router. */
export function collectUnaryMethods(routes: (router: ConnectRouter) => void): UnaryMethod[] {
  const methods: UnaryMethod[] = [];
  const add = (method: MethodImplSpec) => {
    if (method.kind === "unary") methods.push(method);
  };
  const router: ConnectRouter = {
    handlers: [],
    service(service: DescService, implementation) {
      Object.values(createServiceImplSpec(service, implementation).methods).forEach(add);
      return router;
    },
    rpc(method, implementation) {
      add(createMethodImplSpec(method, implementation));
      return router;
    },
  };
  routes(router);
  return methods;
}

/**
 * Calls an implementation through Connect's interceptors, as Connect's own handlers do: the first of them is the outermost, and what
 * they put into the request reaches the implementation. Unlike Connect's, the signal is not aborted when the call has ended.
 *
 * @param call.metadata filled by the implementation.
 * @throws whatever the interceptors let through.
 */
export function invoke(
  method: UnaryMethod,
  interceptors: readonly Interceptor[],
  call: {
    message: UnaryRequest["message"];
    header: Headers;
    url: string;
    protocolName: string;
    deadline: Deadline;
    metadata: Metadata;
  },
): Promise<UnaryResponse> {
  const { deadline, metadata } = call;
  const description = method.method;
  const innermost = async (request: UnaryRequest): Promise<UnaryResponse> => {
    const context: HandlerContext = {
      service: request.service,
      method: description,
      protocolName: call.protocolName,
      requestMethod: request.requestMethod,
      url: request.url,
      signal: request.signal,
      timeoutMs: deadline.remainingMs,
      requestHeader: request.header,
      responseHeader: metadata.header,
      responseTrailer: metadata.trailer,
      values: request.contextValues,
    };
    const output = await method.impl(request.message, context);
    const message = create(description.output, output);
    return { stream: false, service: request.service, method: description, ...metadata, message };
  };
  return intercept(
    interceptors,
    innermost,
  )({
    stream: false,
    service: description.parent,
    method: description,
    requestMethod: "POST",
    url: call.url,
    signal: deadline.signal,
    header: call.header,
    contextValues: createContextValues(),
    message: call.message,
  });
}
