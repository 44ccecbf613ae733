import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createContextValues,
  type ContextValues,
  type Interceptor,
  type Transport,
  type UnaryRequest,
  type UnaryResponse,
} from "@connectrpc/connect";

import { formatTimeout, timeoutFor, withDeadline } from "./deadline.ts";
import { messageFlags, readFrames, trailerFlag, writeFrames, type Frame } from "./frames.ts";
import { intercept } from "./intercept.ts";
import { readLimitedBody } from "./limited-body.ts";
import { readHeaderError, readTrailer } from "./status.ts";

/** As the global one; where a balancer chooses, the URL's origin is only a name. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface UnaryTransportOptions {
  /** Without a slash at its end. */
  baseUrl: string;
  /** The global one by default. */
  fetch?: Fetch;
  /** The first is the outermost. They see what fetch throws as it is; their caller sees ConnectErrors. */
  interceptors?: readonly Interceptor[];
  /** Deadline of calls that bring none of their own. */
  timeoutMs: number;
  /** The longest answer, in bytes. */
  maxAnswerBytes: number;
}

/**
 * A client of unary gRPC-web in binary form, on the fetch API alone: for Workers, Deno, Bun and Node. It does what Connect's
 * transport for the web does, and bounds the time and the length of every answer. Source: PROTOCOL-WEB.md of github.com/grpc/grpc;
 * codes of protocol errors are those that Connect's conformance suite expects.
 */
export function createUnaryTransport(options: UnaryTransportOptions): Transport {
  const { baseUrl, interceptors = [], maxAnswerBytes } = options;
  const fetch: Fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));

  /** @throws what fetch throws. */
  async function call(request: UnaryRequest): Promise<UnaryResponse> {
    const payload = encode(request);
    const response = await fetch(request.url, {
      method: request.requestMethod,
      headers: request.header,
      body: writeFrames({ flags: messageFlags, payload }),
      signal: request.signal,
      // A redirect is no gRPC-web answer. (workerd does not know "error".)
      redirect: "manual",
    });
    try {
      return await readAnswer(request.method, response, maxAnswerBytes);
    } catch (error) {
      if (!response.bodyUsed) void response.body?.cancel().catch(() => {});
      throw error;
    }
  }
  const intercepted = intercept(interceptors, call);

  return {
    unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      signal: AbortSignal | undefined,
      ownTimeoutMs: number | undefined,
      header: OwnHeaders,
      input: MessageInitShape<I>,
      contextValues?: ContextValues,
    ) {
      const timeoutMs = timeoutFor(ownTimeoutMs, options.timeoutMs);
      return withDeadline({ timeoutMs, caller: signal }, async (deadline) => {
        const response = await intercepted({
          stream: false,
          service: method.parent,
          method,
          requestMethod: "POST",
          url: `${baseUrl}/${method.parent.typeName}/${method.name}`,
          signal: deadline.signal,
          header: requestHeader(header, timeoutMs),
          contextValues: contextValues ?? createContextValues(),
          message: create(method.input, input),
        });
        // The answer was read by the method's own descriptor.
        return response as UnaryResponse<I, O>;
      });
    },
    stream: refuseStreams,
  };
}

/** The part of a Transport for streams, in one that has none. */
export const refuseStreams: Transport["stream"] = ({ name }) =>
  Promise.reject(new ConnectError(`${name} is a stream, and this transport is for unary calls`, Code.Unimplemented));

type OwnHeaders = ConstructorParameters<typeof Headers>[0];

function requestHeader(own: OwnHeaders, timeoutMs: number | undefined): Headers {
  const header = new Headers(own);
  header.set("content-type", "application/grpc-web+proto");
  header.set("x-grpc-web", "1");
  if (timeoutMs !== undefined) header.set("grpc-timeout", formatTimeout(timeoutMs));
  return header;
}

function encode({ method, message }: UnaryRequest): Uint8Array {
  try {
    return toBinary(method.input, message);
  } catch (error) {
    throw new ConnectError(`the message is not a ${method.input.typeName}`, Code.Internal, undefined, undefined, error);
  }
}

async function readAnswer(method: DescMethodUnary, response: Response, maxAnswerBytes: number): Promise<UnaryResponse> {
  const { headers: header } = response;
  const headerError = readHeaderError(response.status, header);
  checkType(header);
  const body = await readLimitedBody(response, maxAnswerBytes);
  if (!body) throw new ConnectError(`the answer has more than ${maxAnswerBytes} bytes`, Code.ResourceExhausted);
  const { payload, trailers } = takeFrames(readFrames(body, 3, Code.Internal));
  if (!trailers) {
    if (headerError) throw headerError;
    const code = header.has("grpc-status") ? Code.Unimplemented : Code.Unknown;
    throw new ConnectError("protocol error: the answer has no trailers", code);
  }
  const trailer = readTrailer(trailers, header);
  if (!payload) throw new ConnectError("protocol error: the answer has no message", Code.Unimplemented);
  return { stream: false, service: method.parent, method, header, trailer, message: parse(method.output, payload) };
}

function checkType(header: Headers): void {
  const type = header.get("content-type") ?? "";
  if (!/^application\/grpc-web($|[+;\s])/i.test(type))
    throw new ConnectError("protocol error: the answer is not gRPC-web", Code.Unknown);
  if (!/^application\/grpc-web(\+proto)?\s*($|;)/i.test(type))
    throw new ConnectError("protocol error: the answer is not in binary form", Code.Internal);
  if ((header.get("grpc-encoding") ?? "identity") !== "identity")
    throw new ConnectError("protocol error: the answer is compressed, which was not asked for", Code.Internal);
}

function takeFrames(frames: Frame[]): { payload?: Uint8Array; trailers?: Uint8Array } {
  const taken: { payload?: Uint8Array; trailers?: Uint8Array } = {};
  for (const { flags, payload } of frames) {
    if (taken.trailers) throw new ConnectError("protocol error: something follows the trailers", Code.Internal);
    if (flags === trailerFlag) taken.trailers = payload;
    else if (flags !== messageFlags)
      throw new ConnectError("protocol error: a frame of an unknown kind", Code.Internal);
    else if (taken.payload) throw new ConnectError("protocol error: more than one message", Code.Unimplemented);
    else taken.payload = payload;
  }
  return taken;
}

function parse<D extends DescMessage>(desc: D, payload: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(desc, payload);
  } catch (error) {
    throw new ConnectError(`the answer is not a ${desc.typeName}`, Code.Internal, undefined, undefined, error);
  }
}
