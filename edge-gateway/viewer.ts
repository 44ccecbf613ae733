import type { GatewayContext } from "./endpoint.ts";
import { queryParams, tokenFrom } from "./params.ts";

/** Who signed in to make this request; undefined for nobody. */
export function viewerOf(c: GatewayContext): string | undefined {
  try {
    return tokenFrom(c.req.raw.headers, queryParams(c.req.url));
  } catch {
    return undefined;
  }
}
