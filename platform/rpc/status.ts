import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  setTrailerStatus,
  trailerParse,
  trailerSerialize,
  validateResponse,
  validateTrailer,
} from "@connectrpc/connect/protocol-grpc-web";

const okBytes = new TextEncoder().encode("grpc-status: 0\r\n");

/** The trailers of a call that went well, as they are written. */
export function writeOk(trailer: Headers): Uint8Array {
  for (const _ of trailer) return trailerSerialize(setTrailerStatus(new Headers(trailer), undefined));
  return okBytes;
}

/** The trailers of a call that failed, as they are written: `grpc-status`, `grpc-message` and, with details, `grpc-status-details-bin`. */
export function writeError(trailer: Headers, error: ConnectError): Uint8Array {
  const writable = error.rawMessage.isWellFormed() ? error : copyError(error, error.rawMessage.toWellFormed());
  return trailerSerialize(setTrailerStatus(new Headers(trailer), writable));
}

/** What a caller may see of whatever was thrown: only a ConnectError was made to be seen. */
export function publicError(thrown: unknown): ConnectError {
  if (thrown instanceof ConnectError) return thrown;
  return new ConnectError("internal error", Code.Internal, undefined, undefined, thrown);
}

/** An error as it would arrive from another process: with the answer's headers and trailers, and without its cause. */
export function asFromWire(error: ConnectError, header: Headers, trailer: Headers): ConnectError {
  const copy = copyError(error, error.rawMessage);
  // One that passes an error on passes on its details and not its metadata: see Connect's setTrailerStatus.
  copy.isWireError = true;
  copy.details = error.details.map((detail) => {
    if (!("desc" in detail)) return detail;
    const { desc, value } = detail;
    return { type: desc.typeName, value: toBinary(desc, create(desc, value)) };
  });
  for (const metadata of [header, trailer]) metadata.forEach((value, name) => copy.metadata.append(name, value));
  return copy;
}

function copyError(error: ConnectError, message: string): ConnectError {
  const copy = new ConnectError(message, error.code, error.isWireError ? undefined : error.metadata);
  copy.details = error.details;
  return copy;
}

/**
 * The trailers of an answer.
 *
 * @param header the answer's, which an error carries too.
 * @throws ConnectError that the trailers tell of; INTERNAL when they cannot be read.
 */
export function readTrailer(payload: Uint8Array, header: Headers): Headers {
  if (isOk(payload)) return new Headers({ "grpc-status": "0" });
  return legible(() => {
    const trailer = trailerParse(payload);
    validateTrailer(trailer, header);
    return trailer;
  });
}

/**
 * The error that an answer's header tells of, if any: an answer without a body has its trailers there.
 *
 * @throws ConnectError of the HTTP status when it is not one of success. Source of the codes: http-grpc-status-mapping.md of
 * github.com/grpc/grpc.
 */
export function readHeaderError(status: number, header: Headers): ConnectError | undefined {
  return legible(() => validateResponse(status, header).headerError);
}

function isOk(payload: Uint8Array): boolean {
  return payload.byteLength === okBytes.byteLength && payload.every((byte, index) => byte === okBytes[index]);
}

/** A status is written by the other side: what is wrong with it is no fault of ours. */
function legible<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof ConnectError) throw error;
    throw new ConnectError("protocol error: the status cannot be read", Code.Internal, undefined, undefined, error);
  }
}
