import type { ProbedStream } from "./probe.ts";

/** How a picture is turned into 8 bits of 4:2:0 of standard range, and how it is tagged then. */
export interface Colour {
  /** Filters behind the scaling, which keeps the colours as they are. */
  filter: string;
  /** Names for `-colorspace`, `-color_primaries` and `-color_trc`. */
  tags: { space: string; primaries: string; transfer: string };
}

const bt709 = { space: "bt709", primaries: "bt709", transfer: "bt709" };
const bt601 = { space: "smpte170m", primaries: "smpte170m", transfer: "smpte170m" };
const pal = { space: "bt470bg", primaries: "bt470bg", transfer: "gamma28" };
const hdrTransfers = new Set(["smpte2084", "arib-std-b67"]);
/** Nits of white in standard range, by ITU-R BT.2408. */
const whiteNits = 203;
/** What is brighter is all white; phones and most films stay below. */
const peakNits = 1000;

/**
 * High dynamic range (PQ and HLG) is mapped to BT.709 by a curve that leaves dark and middle tones as they are (Möbius); wide gamut is converted. Everything else keeps its matrix
 * and is tagged with it: where a file does not tell, by the size of its picture, as players guess.
 */
export function planColour(video: ProbedStream): Colour {
  const { colorSpace, colorPrimaries, colorTransfer } = video;
  const hdr = hdrTransfers.has(colorTransfer ?? "");
  if (hdr || colorSpace?.startsWith("bt2020") || colorPrimaries === "bt2020") {
    // What a file leaves out would keep zscale from finding a way, and it waits for ever then.
    const given = `color_primaries=bt2020:color_trc=${hdr ? colorTransfer : "bt709"}:colorspace=bt2020nc:range=tv`;
    const filter = [
      "format=yuv420p10le",
      `setparams=${given}`,
      `zscale=transfer=linear:npl=${whiteNits}`,
      "format=gbrpf32le",
      "zscale=primaries=bt709",
      ...(hdr ? [`tonemap=tonemap=mobius:desat=0:peak=${(peakNits / whiteNits).toFixed(2)}`] : []),
      "zscale=transfer=bt709:matrix=bt709:range=tv",
      "format=yuv420p",
    ];
    return { filter: filter.join(","), tags: bt709 };
  }
  if (colorSpace === "gbr" || /^(gbr|rgb|bgr|argb|abgr)/.test(video.pixelFormat ?? "")) {
    return { filter: "format=yuv420p", tags: bt709 };
  }
  return { filter: "format=yuv420p", tags: tagsOf(video) };
}

function tagsOf({ colorSpace, width, height }: ProbedStream): Colour["tags"] {
  if (colorSpace === "bt709") return bt709;
  if (colorSpace === "smpte170m") return bt601;
  if (colorSpace === "bt470bg") return pal;
  return Math.max(width, height) >= 1280 || Math.min(width, height) >= 720 ? bt709 : bt601;
}
