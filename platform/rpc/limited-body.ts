/**
 * Reads a whole body into memory, if it is not too long.
 *
 * @returns null when it has more bytes than that; the rest is not read.
 * @throws what reading throws: the other side has gone.
 */
export async function readLimitedBody(
  message: Request | Response,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const { headers } = message;
  const declared = headers.get("content-length");
  // The length of a compressed answer says nothing of what fetch makes of it.
  if (declared === null || headers.has("content-encoding")) return readPieces(message.body, maxBytes);
  if (Number(declared) <= maxBytes) {
    const body = new Uint8Array(await message.arrayBuffer());
    return body.byteLength <= maxBytes ? body : null;
  }
  giveUp(message.body);
  return null;
}

async function readPieces(
  stream: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
  if (!stream) return new Uint8Array();
  const reader = stream.getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.byteLength;
    if (length > maxBytes) {
      giveUp(reader);
      return null;
    }
    pieces.push(value);
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    body.set(piece, at);
    at += piece.byteLength;
  }
  return body;
}

/** Whether the other side hears of it is of no consequence here. */
function giveUp(body: { cancel(): Promise<void> } | null): void {
  void body?.cancel().catch(() => {});
}
