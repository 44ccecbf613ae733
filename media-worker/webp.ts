/** Flags of the chunk `VP8X`. */
const animated = 0x02;
const hasAlpha = 0x10;
/** Of a frame, before its chunks: place, size, duration, flags. */
const frameHeaderBytes = 16;

/**
 * The first picture of an animated WebP as a WebP of its own, since FFmpeg before version 8 reads no animated ones; null for anything
 * else. What is cut or malformed comes out cut or malformed, for FFmpeg to refuse.
 *
 * Source: https://developers.google.com/speed/webp/docs/riff_container
 */
export function firstFrame(file: Buffer): Buffer | null {
  if (file.toString("latin1", 0, 4) !== "RIFF" || file.toString("latin1", 8, 16) !== "WEBPVP8X") return null;
  if (((file[20] ?? 0) & animated) === 0) return null;
  for (let at = 12; at + 8 <= file.length;) {
    const end = at + 8 + file.readUInt32LE(at + 4);
    if (file.toString("latin1", at, at + 4) === "ANMF") return still(file.subarray(at + 8, end));
    // Chunks begin at even places.
    at = end + (end % 2);
  }
  return null;
}

function still(frame: Buffer): Buffer | null {
  if (frame.length < frameHeaderBytes) return null;
  const chunks = frame.subarray(frameHeaderBytes);
  const features = Buffer.alloc(18);
  features.write("VP8X", "latin1");
  features.writeUInt32LE(10, 4);
  features[8] = chunks.toString("latin1", 0, 4) === "ALPH" ? hasAlpha : 0;
  // Width and height less one, three bytes each.
  frame.copy(features, 12, 6, 12);
  const head = Buffer.alloc(12);
  head.write("RIFF", "latin1");
  head.writeUInt32LE(4 + features.length + chunks.length, 4);
  head.write("WEBP", 8, "latin1");
  return Buffer.concat([head, features, chunks]);
}
