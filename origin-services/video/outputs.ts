import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { Cover, Rendition } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

const maxOutputs = 8;
/** Of the columns. */
const maxLength = 2000;

type RenditionFields = Pick<Rendition, "url" | "width" | "height" | "bitrate" | "bytes">;
type CoverFields = Pick<Cover, "url" | "width" | "height" | "type">;

/** The column `videos.renditions`: a JSON list with object keys. @throws INVALID_PARAMETER when it is too long. */
export function encodeRenditions(renditions: readonly RenditionFields[]): string {
  const list = renditions.map(({ url, width, height, bitrate, bytes }) => [url, width, height, bitrate, Number(bytes)]);
  return encode("renditions", list);
}

/** @param toUrl of an object key. */
export function decodeRenditions(column: string, toUrl: (key: string) => string): RenditionFields[] {
  const list = decode(column) as [string, number, number, number, number][];
  return list.map(([key, width, height, bitrate, bytes]) => {
    return { url: toUrl(key), width, height, bitrate, bytes: BigInt(bytes) };
  });
}

/** The column `videos.covers`, in the same way. */
export function encodeCovers(covers: readonly CoverFields[]): string {
  return encode(
    "covers",
    covers.map(({ url, width, height, type }) => [url, width, height, type]),
  );
}

export function decodeCovers(column: string, toUrl: (key: string) => string): CoverFields[] {
  const list = decode(column) as [string, number, number, string][];
  return list.map(([key, width, height, type]) => ({ url: toUrl(key), width, height, type }));
}

function encode(name: string, list: unknown[]): string {
  if (list.length > maxOutputs) throw flickError(Reason.INVALID_PARAMETER, `${name}: more than ${maxOutputs}`);
  const json = list.length > 0 ? JSON.stringify(list) : "";
  if (json.length > maxLength)
    throw flickError(Reason.INVALID_PARAMETER, `${name}: longer than ${maxLength} characters`);
  return json;
}

const decode = (column: string): unknown[] => (column === "" ? [] : (JSON.parse(column) as unknown[]));
