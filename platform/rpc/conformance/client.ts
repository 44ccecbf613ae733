/** The client that calls the server of Connect's conformance suite: see run.ts. It makes the calls that it is asked for, all at once. */
import { create, fromBinary, toBinary, type DescMethod } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";

import { createUnaryTransport } from "../unary-transport.ts";
import {
  addHeaders,
  loadDescriptors,
  readMessages,
  toHeaderList,
  writeMessage,
  type ClientCompatRequest,
} from "./messages.ts";

const maxRunMs = 600_000;
const noTimeout = 0;
const defaultLimit = 4 * 1024 * 1024;

setTimeout(() => process.exit(1), maxRunMs).unref();

const { registry, service, message } = await loadDescriptors();
const pending: Promise<void>[] = [];
for await (const bytes of readMessages(Bun.stdin.stream())) {
  pending.push(answer(fromBinary(message("ClientCompatRequest"), bytes) as ClientCompatRequest));
}
await Promise.all(pending);

async function answer(asked: ClientCompatRequest): Promise<void> {
  const Answer = message("ClientCompatResponse");
  const result = await call(asked).then(
    (value) => ({ case: "response", value }),
    (error: unknown) => ({ case: "error", value: { message: String(error) } }),
  );
  writeMessage(toBinary(Answer, create(Answer, { testName: asked.testName, result })));
}

/** @throws what is no outcome of a call, but keeps it from being made. */
async function call(asked: ClientCompatRequest): Promise<Record<string, unknown>> {
  const method = service.methods.find(({ name }) => name === asked.method);
  if (!isUnary(method)) throw new Error(`${asked.method} is not a unary method`);
  const [packed] = asked.requestMessages;
  const input = packed && anyUnpack(packed, registry);
  if (!input) throw new Error("a request message of an unknown type");
  const transport = createUnaryTransport({
    baseUrl: `http://${asked.host}:${asked.port}`,
    timeoutMs: maxRunMs,
    maxAnswerBytes: asked.messageReceiveLimit || defaultLimit,
  });
  const headers = new Headers();
  addHeaders(headers, asked.requestHeaders);
  const { signal, abort } = controllerOf();
  const timing = asked.cancel?.cancelTiming;
  if (timing?.case === "afterCloseSendMs") setTimeout(abort, Number(timing.value));
  try {
    const response = await transport.unary(method, signal, asked.timeoutMs ?? noTimeout, headers, input);
    return {
      responseHeaders: toHeaderList(response.header),
      responseTrailers: toHeaderList(response.trailer),
      payloads: [(response.message as unknown as { payload: unknown }).payload],
    };
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const details = error.details.flatMap((detail) =>
      "type" in detail ? [{ typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value }] : [],
    );
    return {
      error: { code: error.code, message: error.rawMessage, details },
      // A ConnectError does not tell one from the other.
      responseHeaders: toHeaderList(error.metadata),
      responseTrailers: toHeaderList(error.metadata),
    };
  }
}

function controllerOf(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

function isUnary(method: DescMethod | undefined): method is DescMethod & { methodKind: "unary" } {
  return method?.methodKind === "unary";
}
