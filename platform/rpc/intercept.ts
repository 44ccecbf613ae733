import type { Interceptor, UnaryRequest, UnaryResponse } from "@connectrpc/connect";

type UnaryCall = (request: UnaryRequest) => Promise<UnaryResponse>;

/** A unary call with interceptors around it: the first of them is the outermost. */
export function intercept(interceptors: readonly Interceptor[], call: UnaryCall): UnaryCall {
  let next: ReturnType<Interceptor> = (request) => (request.stream ? refuseStream() : call(request));
  for (const interceptor of interceptors.toReversed()) next = interceptor(next);
  return async (request) => {
    const response = await next(request);
    return response.stream ? refuseStream() : response;
  };
}

function refuseStream(): never {
  throw new TypeError("an interceptor made a stream of a unary call");
}
