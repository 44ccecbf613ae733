import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

/**
 * What is over the limit is read and thrown away up to this length and time, so that its connection lives on: workerd closes one whose
 * request was not read, without a word, and a client that uses it again just then gets an error.
 */
const discarded = { bytes: 2 * 1024 * 1024, ms: 1000 };

/**
 * Reads a small body into memory.
 *
 * @throws TOO_LARGE when its declared or its real length is over the limit, at once if by far; INVALID_PARAMETER when it does not
 * arrive in time.
 */
export async function readBody(
  request: Request,
  { maxBytes, timeoutMs }: { maxBytes: number; timeoutMs: number },
): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () => flickError(Reason.TOO_LARGE, `The body may have at most ${maxBytes} bytes.`);
  const declared = Number(request.headers.get("content-length"));
  if (declared > Math.max(maxBytes, discarded.bytes)) throw tooLarge();
  if (!request.body) return new Uint8Array();

  const reader = request.body.getReader();
  const { promise: late, reject } = Promise.withResolvers<never>();
  const tooLate = () => flickError(Reason.INVALID_PARAMETER, `The body did not arrive within ${timeoutMs / 1000} s.`);
  const timer =
    declared > maxBytes
      ? setTimeout(() => reject(tooLarge()), discarded.ms)
      : setTimeout(() => reject(tooLate()), timeoutMs);
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) break;
      length += value.byteLength;
      if (length <= maxBytes) chunks.push(value);
      else if (length > discarded.bytes) throw tooLarge();
    }
  } catch (error) {
    // The rest is of no use. Whether the client hears of that is of no consequence here.
    void reader.cancel().catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
  if (length > maxBytes) throw tooLarge();
  return join(chunks, length);
}

function join(chunks: Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}
