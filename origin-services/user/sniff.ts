/** How many bytes {@link sniffImage} wants to see. */
const sniffBytes = 12;

/**
 * The media type of a picture, told by its first bytes and by nothing that its sender says: JPEG, PNG, WebP or GIF. Null for everything
 * else; SVG is a program, and not a picture.
 */
export function sniffImage(head: Uint8Array): "image/jpeg" | "image/png" | "image/webp" | "image/gif" | null {
  if (head.length < sniffBytes) return null;
  const text = Buffer.from(head.buffer, head.byteOffset, sniffBytes).toString("latin1");
  if (text.startsWith("\xFF\xD8\xFF")) return "image/jpeg";
  if (text.startsWith("\x89PNG\r\n\x1A\n")) return "image/png";
  if (text.startsWith("RIFF") && text.slice(8) === "WEBP") return "image/webp";
  if (/^GIF8[79]a/.test(text)) return "image/gif";
  return null;
}
