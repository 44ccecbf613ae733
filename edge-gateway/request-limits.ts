import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import type { GatewayContext } from "./endpoint.ts";

/** Far more than any request of ours has, and less than what any runtime refuses by itself, without our envelope (Bun: 16 KiB for both). */
const maxUrlLength = 8 * 1024;
const maxHeadersLength = 6 * 1024;

/** The refusal of a request whose address (414) or headers (431) are too long, before anything reads them; null for others. */
export function refuseTooLong(c: GatewayContext, url: string): Response | null {
  if (url.length > maxUrlLength) return refusal(c, "address", maxUrlLength, 414);
  let length = 0;
  c.req.raw.headers.forEach((value, name) => (length += name.length + value.length + 4));
  return length > maxHeadersLength ? refusal(c, "headers", maxHeadersLength, 431) : null;
}

function refusal(c: GatewayContext, what: string, most: number, status: 414 | 431): Response {
  const message = `The ${what} may have at most ${most} characters.`;
  return c.json({ status_code: Reason.TOO_LARGE, status_msg: message }, status);
}
