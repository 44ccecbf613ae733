import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type Interceptor, type UnaryRequest } from "@connectrpc/connect";

import { parseTimeout, startDeadline, type Deadline } from "./deadline.ts";
import { compressedFlag, headBytes, messageFlags, readFrames, trailerFlag, writeFrames, type Frame } from "./frames.ts";
import { collectUnaryMethods, invoke, type Metadata, type UnaryMethod } from "./invoke.ts";
import { readLimitedBody } from "./limited-body.ts";
import { publicError, writeError, writeOk } from "./status.ts";

export interface UnaryHandlerOptions {
  routes: (router: ConnectRouter) => void;
  /** Shared with Connect's handlers: the same contract holds. */
  interceptors: readonly Interceptor[];
  /** The longest request message, in bytes. */
  maxMessageBytes: number;
  /** The longest time that a call may take; it is also the time of a call that sets none. */
  maxCallMs: number;
  /** Gets what no interceptor has seen and no caller is shown, as an answer that cannot be encoded. */
  onFault: (fault: unknown, method: string) => void;
}

export type FetchHandler = (request: Request) => Promise<Response>;

/**
 * Serves unary gRPC-web in binary form over the fetch API: the same implementations, descriptors and interceptors as Connect's handler,
 * without its streams. Codes of protocol errors are those that Connect's conformance suite expects. Compression is refused.
 *
 * @returns a handler for each method, by its path. A request that {@link isBinaryGrpcWeb} does not hold for is for Connect's handler.
 */
export function createUnaryHandlers(options: UnaryHandlerOptions): Map<string, FetchHandler> {
  return new Map(
    collectUnaryMethods(options.routes).map((method) => [
      `/${method.method.parent.typeName}/${method.method.name}`,
      (request) => handle(request, method, options),
    ]),
  );
}

/** Whether a request says that it is gRPC-web with binary messages: in its media type, whose case and parameters do not matter. */
export function isBinaryGrpcWeb(request: Request): boolean {
  const type = request.headers.get("content-type");
  // What every client of ours sends, without the expression's cost.
  return type === contentType || (type !== null && binaryType.test(type));
}

const contentType = "application/grpc-web+proto";
const binaryType = /^application\/grpc-web(\+proto)?\s*(;|$)/i;

async function handle(request: Request, method: UnaryMethod, options: UnaryHandlerOptions): Promise<Response> {
  if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST" } });
  const metadata: Metadata = { header: new Headers(), trailer: new Headers() };
  let deadline: Deadline | undefined;
  try {
    const { promise: aborted, reject: onAbort } = Promise.withResolvers<never>();
    // Nobody waits for it once the body is there.
    aborted.catch(() => {});
    deadline = startDeadline({ timeoutMs: timeoutOf(request, options.maxCallMs), caller: request.signal, onAbort });
    const message = await Promise.race([aborted, readMessage(request, method, options.maxMessageBytes)]);
    const { header, trailer, ...response } = await invoke(method, options.interceptors, {
      message,
      header: request.headers,
      url: request.url,
      protocolName: "grpc-web",
      deadline,
      metadata,
    });
    const payload = toBinary(method.method.output, response.message);
    return answer(header, { flags: messageFlags, payload }, { flags: trailerFlag, payload: writeOk(trailer) });
  } catch (error) {
    if (!(error instanceof ConnectError)) options.onFault(error, new URL(request.url).pathname);
    const payload = writeError(metadata.trailer, publicError(error));
    return answer(metadata.header, { flags: trailerFlag, payload });
  } finally {
    deadline?.end();
  }
}

function timeoutOf(request: Request, maxCallMs: number): number {
  const asked = request.headers.get("grpc-timeout");
  return asked === null ? maxCallMs : Math.min(parseTimeout(asked), maxCallMs);
}

async function readMessage(
  request: Request,
  method: UnaryMethod,
  maxMessageBytes: number,
): Promise<UnaryRequest["message"]> {
  const encoding = request.headers.get("grpc-encoding") ?? "identity";
  if (encoding !== "identity") {
    const accepted = { "grpc-accept-encoding": "identity" };
    throw new ConnectError("compressed messages are not supported", Code.Unimplemented, accepted);
  }
  const body = await readLimitedBody(request, headBytes + maxMessageBytes).catch((cause: unknown) => {
    throw new ConnectError("the request did not arrive as a whole", Code.Canceled, undefined, undefined, cause);
  });
  if (!body) throw new ConnectError(`a message may have at most ${maxMessageBytes} bytes`, Code.ResourceExhausted);
  const frames = readFrames(body, 2, Code.InvalidArgument);
  const [frame, another] = frames;
  if (!frame) throw new ConnectError("protocol error: a unary call has a message", Code.Unimplemented);
  for (const { flags } of frames) {
    if (flags & compressedFlag)
      throw new ConnectError("protocol error: compressed without grpc-encoding", Code.Internal);
    if (flags !== messageFlags)
      throw new ConnectError("protocol error: a request has no trailers", Code.InvalidArgument);
  }
  if (another) throw new ConnectError("protocol error: a unary call has one message", Code.Unimplemented);
  try {
    return fromBinary(method.method.input, frame.payload);
  } catch {
    throw new ConnectError(`the message is not a ${method.method.input.typeName}`, Code.InvalidArgument);
  }
}

function answer(header: Headers, ...frames: Frame[]): Response {
  header.set("content-type", contentType);
  return new Response(writeFrames(...frames), { headers: header });
}
