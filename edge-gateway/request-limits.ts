import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { MiddlewareHandler } from "hono";

import type { GatewayEnv } from "./endpoint.ts";

/** Far more than any request of ours has, and less than what any runtime refuses by itself, without our envelope (Bun: 16 KiB for both). */
const maxUrlLength = 8 * 1024;
const maxHeadersLength = 6 * 1024;

/** Refuses requests whose address (414) or headers (431) are too long, before anything reads them. */
export const requestLimits: MiddlewareHandler<GatewayEnv> = async (c, next) => {
  const { url, headers } = c.req.raw;
  const refuse = (what: string, most: number, status: 414 | 431) =>
    c.json({ status_code: Reason.TOO_LARGE, status_msg: `The ${what} may have at most ${most} characters.` }, status);
  if (url.length > maxUrlLength) return refuse("address", maxUrlLength, 414);
  let length = 0;
  headers.forEach((value, name) => (length += name.length + value.length + 4));
  if (length > maxHeadersLength) return refuse("headers", maxHeadersLength, 431);
  return next();
};
