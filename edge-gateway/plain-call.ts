import { Code, ConnectError } from "@connectrpc/connect";
import { errorFromJson } from "@connectrpc/connect/protocol-connect";
import type { JsonValue } from "@bufbuild/protobuf";

/** What a status means when the answer has no error of ours in it, as that of a proxy in between. */
const codes: Partial<Record<number, Code>> = {
  429: Code.Unavailable,
  502: Code.Unavailable,
  503: Code.Unavailable,
  504: Code.DeadlineExceeded,
};

/**
 * The error that a call of the origin which is not gRPC-web was answered with.
 *
 * @param json the answer's body, null when it has none in JSON.
 */
export function errorOf(status: number, json: JsonValue): ConnectError {
  const unknown = new ConnectError(`the origin answered HTTP ${status}`, codes[status] ?? Code.Internal);
  return json === null || status === 200 ? unknown : errorFromJson(json, undefined, unknown);
}
