import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

/** White space, control and format characters, and the letters that are drawn as nothing. */
const invisible = /[\p{Z}\p{C}\u115F\u1160\u2800\u3164\uFFA0]/gu;

/** Is there something in it that can be seen? */
export const isVisible = (text: string): boolean => text.replace(invisible, "") !== "";

/**
 * A text that somebody wrote: in NFC, without white space around it, and with something in it that can be seen.
 *
 * @throws INVALID_PARAMETER naming the field and its limit.
 */
export function readText(name: string, text: string, maxLength: number): string {
  const written = text.normalize("NFC").trim();
  if (!isVisible(written)) throw flickError(Reason.INVALID_PARAMETER, `${name}: is missing`);
  if (Array.from(written).length > maxLength) {
    throw flickError(Reason.INVALID_PARAMETER, `${name}: at most ${maxLength} characters`);
  }
  return written;
}
