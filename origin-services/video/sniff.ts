/** How many bytes {@link sniffVideo} wants to see; files that are shorter are no videos. */
export const sniffBytes = 64;

/** ISO base media brands of still pictures and sound, which share the container with video. */
const otherBrands = /^(heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis|jxl |crx |M4A |M4B |M4P |F4A |F4B )$/;
/** Boxes that a QuickTime file from before brands may begin with. */
const oldQuickTimeBoxes = new Set(["moov", "mdat", "wide", "free", "skip", "pnot"]);

/**
 * The media type of a video, told by its first bytes and by nothing that its sender says: ISO base media (MP4, QuickTime, 3GP),
 * Matroska or WebM. Null for everything else.
 */
export function sniffVideo(
  head: Uint8Array,
): "video/mp4" | "video/quicktime" | "video/webm" | "video/x-matroska" | null {
  if (head.length < sniffBytes) return null;
  const text = Buffer.from(head.buffer, head.byteOffset, sniffBytes).toString("latin1");
  const box = text.slice(4, 8);
  if (box === "ftyp") {
    const brand = text.slice(8, 12);
    if (otherBrands.test(brand)) return null;
    return brand === "qt  " ? "video/quicktime" : "video/mp4";
  }
  if (oldQuickTimeBoxes.has(box)) return "video/quicktime";
  // EBML's magic number; the document type follows within the header.
  if (text.startsWith("\x1A\x45\xDF\xA3")) {
    if (text.includes("webm")) return "video/webm";
    if (text.includes("matroska")) return "video/x-matroska";
  }
  return null;
}
