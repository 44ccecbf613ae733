import {
  clone,
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  type Interceptor,
  type Transport,
  type UnaryResponse,
} from "@connectrpc/connect";

import { timeoutFor, withDeadline, type Deadline } from "./deadline.ts";
import { collectUnaryMethods, invoke, type UnaryMethod } from "./invoke.ts";
import { asFromWire, publicError } from "./status.ts";
import { refuseStreams } from "./unary-transport.ts";

export interface LocalTransportOptions {
  routes: (router: ConnectRouter) => void;
  /** Those of the server. */
  interceptors: readonly Interceptor[];
  /** Sets what the calling program says of itself on every call. */
  addHeaders: (header: Headers) => Promise<void>;
  /** Deadline of calls that bring none of their own. */
  timeoutMs: number;
}

/**
 * Calls services of this process with no wire in between, and so that neither side can tell: messages are copied both ways, so that
 * nobody sees what the other does to its own; context values stay with their side; errors come without their cause; and a call
 * ends at its deadline or its caller's abort, whatever its handler still waits for.
 */
export function createLocalTransport(options: LocalTransportOptions): Transport {
  const methods = new Map<DescMethodUnary, UnaryMethod>(
    collectUnaryMethods(options.routes).map((method) => [method.method, method]),
  );

  async function call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    header: Headers,
    input: MessageInitShape<I>,
    deadline: Deadline,
  ): Promise<UnaryResponse<I, O>> {
    const local = methods.get(method);
    if (!local) throw new ConnectError(`${method.parent.typeName} is not in this process`, Code.Unimplemented);
    await options.addHeaders(header);
    const metadata = { header: new Headers(), trailer: new Headers() };
    try {
      const { message, ...response } = await invoke(local, options.interceptors, {
        message: clone(method.input, create(method.input, input)),
        header,
        url: `local:/${method.parent.typeName}/${method.name}`,
        protocolName: "local",
        deadline,
        metadata,
      });
      // Made by the method's own descriptor.
      return { ...response, method, message: clone(method.output, message as MessageShape<O>) };
    } catch (error) {
      // What is no ConnectError here has got past the interceptors, and nobody else has a log of it.
      throw error instanceof ConnectError ? asFromWire(error, metadata.header, metadata.trailer) : publicError(error);
    }
  }

  return {
    unary: (method, signal, timeoutMs, header, input) =>
      withDeadline({ timeoutMs: timeoutFor(timeoutMs, options.timeoutMs), caller: signal }, (deadline) =>
        call(method, new Headers(header), input, deadline),
      ),
    stream: refuseStreams,
  };
}
