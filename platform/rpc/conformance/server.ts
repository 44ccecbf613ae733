/** The server that Connect's conformance suite calls: see run.ts. It serves one runner, until SIGTERM. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";

import { createRpcHandlers } from "../rpc-handlers.ts";
import {
  addHeaders,
  loadDescriptors,
  readMessages,
  toHeaderList,
  writeMessage,
  type ServerCompatRequest,
  type UnaryRequest,
} from "./messages.ts";

const maxCallMs = 60_000;
const maxRunMs = 600_000;
const defaultLimit = 1024 * 1024;

setTimeout(() => process.exit(1), maxRunMs).unref();
process.on("SIGTERM", () => process.exit(0));

const { service, message } = await loadDescriptors();
for await (const bytes of readMessages(Bun.stdin.stream())) {
  const { messageReceiveLimit } = fromBinary(message("ServerCompatRequest"), bytes) as ServerCompatRequest;
  const { hostname: host, port } = serve(messageReceiveLimit || defaultLimit);
  const Response = message("ServerCompatResponse");
  writeMessage(toBinary(Response, create(Response, { host, port })));
}

function serve(maxMessageBytes: number): Bun.Server<undefined> {
  const handlers = createRpcHandlers({
    // Of a service that is known at run time only, TypeScript does not know the methods.
    routes: (router) => router.service(service, { unary } as unknown as ServiceImpl<typeof service>),
    interceptors: [],
    maxMessageBytes,
    maxCallMs,
    onFault: (fault) => process.stderr.write(`${String(fault)}\n`),
  });
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) =>
      handlers.get(new URL(request.url).pathname)?.(request) ?? new Response("no such path", { status: 404 }),
  });
}

/** Answers what its request asks for, and what it has seen of the request. */
async function unary(request: UnaryRequest, context: HandlerContext): Promise<Record<string, unknown>> {
  // Every call has an end here; the runner asks for the one that it has set itself.
  const timeoutMs = context.requestHeader.has("grpc-timeout") ? context.timeoutMs() : undefined;
  const requestInfo = {
    requestHeaders: toHeaderList(context.requestHeader),
    requests: [anyPack(message("UnaryRequest"), request)],
    ...(timeoutMs === undefined ? {} : { timeoutMs: BigInt(Math.round(timeoutMs)) }),
  };
  const asked = request.responseDefinition;
  if (!asked) return { payload: { requestInfo } };
  addHeaders(context.responseHeader, asked.responseHeaders);
  addHeaders(context.responseTrailer, asked.responseTrailers);
  await Bun.sleep(asked.responseDelayMs);
  if (asked.response.case === "error") {
    const { code, message: text = "", details } = asked.response.value;
    const error = new ConnectError(text, code, undefined, [
      { desc: message("ConformancePayload.RequestInfo"), value: requestInfo },
    ]);
    error.details.unshift(...details.map(({ typeUrl, value }) => ({ type: typeUrl.replace(/^.*\//, ""), value })));
    throw error;
  }
  const { value: data } = asked.response;
  return { payload: { ...(data ? { data } : {}), requestInfo } };
}
