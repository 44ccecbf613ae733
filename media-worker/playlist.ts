import { names, soundRung } from "./plan-package.ts";

/** A stream of one rendition or of the sound, as its playlist tells. */
interface StreamUse {
  /** Bits a second of its most expensive segment, and of all of them. */
  peak: number;
  average: number;
}

export interface StreamedRung {
  name: string;
  width: number;
  height: number;
  frameRate: number;
  /** Its media playlist. */
  playlist: string;
  /** The beginning of its file. */
  head: Uint8Array;
}

/**
 * The master playlist (RFC 8216), the narrowest rendition first, with which players begin.
 * @param soundPlaylist the media playlist of the sound, or null for a silent video.
 */
export function masterPlaylist(rungs: readonly StreamedRung[], soundPlaylist: string | null): string {
  const sound = soundPlaylist === null ? null : readUse(soundPlaylist);
  const lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"];
  if (sound) {
    const attributes = `GROUP-ID="sound",NAME="sound",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2"`;
    lines.push(`#EXT-X-MEDIA:TYPE=AUDIO,${attributes},URI="${names.streamPlaylist(soundRung)}"`);
  }
  for (const { name, width, height, frameRate, playlist, head } of rungs) {
    const use = readUse(playlist);
    const codecs = [avcCodec(head), ...(sound ? ["mp4a.40.2"] : [])].join(",");
    const attributes = [
      `BANDWIDTH=${use.peak + (sound?.peak ?? 0)}`,
      `AVERAGE-BANDWIDTH=${use.average + (sound?.average ?? 0)}`,
      `CODECS="${codecs}"`,
      `RESOLUTION=${width}x${height}`,
      ...(frameRate > 0 ? [`FRAME-RATE=${frameRate.toFixed(3)}`] : []),
      ...(sound ? [`AUDIO="sound"`] : []),
    ];
    lines.push(`#EXT-X-STREAM-INF:${attributes.join(",")}`, names.streamPlaylist(name));
  }
  return `${lines.join("\n")}\n`;
}

/** From the durations and byte ranges of a media playlist. */
export function readUse(playlist: string): StreamUse {
  const segments = [...playlist.matchAll(/^#EXTINF:([\d.]+),[^\n]*\n#EXT-X-BYTERANGE:(\d+)/gm)].map(
    ([, seconds, bytes]) => ({ seconds: Math.max(Number(seconds), 0.001), bits: Number(bytes) * 8 }),
  );
  const total = (of: (segment: { seconds: number; bits: number }) => number) =>
    segments.reduce((sum, segment) => sum + of(segment), 0);
  const seconds = total((segment) => segment.seconds);
  // A short rest says little about the whole.
  const whole = segments.filter((segment) => segment.seconds >= 0.5 || segments.length === 1);
  const peak = Math.max(0, ...whole.map((segment) => segment.bits / segment.seconds));
  return { peak: Math.ceil(peak), average: seconds > 0 ? Math.ceil(total(({ bits }) => bits) / seconds) : 0 };
}

/** The codec's name by RFC 6381: profile, constraints and level stand in the `avcC` box (ISO 14496-15) of the file's beginning. */
function avcCodec(head: Uint8Array): string {
  const at = Buffer.from(head.buffer, head.byteOffset, head.byteLength).indexOf("avcC");
  const bytes = head.slice(at + 5, at + 8);
  if (at < 0 || bytes.length < 3) throw new Error("the stream says nothing of its profile");
  return `avc1.${Buffer.from(bytes).toString("hex")}`;
}
