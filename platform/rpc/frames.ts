import { ConnectError, type Code } from "@connectrpc/connect";

/**
 * A frame of a gRPC-web body: one byte of flags, the payload's length in four bytes (big-endian), the payload. The last frame of an
 * answer holds its trailers. Source: PROTOCOL-WEB.md and PROTOCOL-HTTP2.md of github.com/grpc/grpc.
 */
export interface Frame {
  flags: number;
  /** A view of the body that it was read from. */
  payload: Uint8Array;
}

export const messageFlags = 0b0000_0000;
export const compressedFlag = 0b0000_0001;
export const trailerFlag = 0b1000_0000;

export const headBytes = 5;

/**
 * Reads the first frames of a body.
 *
 * @param most so many at most: a short body can be thousands of empty ones.
 * @param malformed what a body that ends within a frame is answered with.
 * @throws ConnectError with that code.
 */
export function readFrames(body: Uint8Array, most: number, malformed: Code): Frame[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const frames: Frame[] = [];
  for (let at = 0; at < body.byteLength && frames.length < most;) {
    const begin = at + headBytes;
    const end = begin <= body.byteLength ? begin + view.getUint32(at + 1) : Number.POSITIVE_INFINITY;
    if (end > body.byteLength) throw new ConnectError("protocol error: the body ends within a frame", malformed);
    frames.push({ flags: view.getUint8(at), payload: body.subarray(begin, end) });
    at = end;
  }
  return frames;
}

/** One body of these frames. */
export function writeFrames(...frames: Frame[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const { payload } of frames) length += headBytes + payload.byteLength;
  const body = new Uint8Array(length);
  const view = new DataView(body.buffer);
  let at = 0;
  for (const { flags, payload } of frames) {
    view.setUint8(at, flags);
    view.setUint32(at + 1, payload.byteLength);
    body.set(payload, at + headBytes);
    at += headBytes + payload.byteLength;
  }
  return body;
}
