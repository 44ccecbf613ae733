import type { MiddlewareHandler } from "hono";

import type { GatewayEnv } from "./endpoint.ts";
import type { Log } from "./log.ts";

/**
 * Gives every request an id, which its answer, its log lines and its calls to the origin carry, and logs one line when it is answered.
 * The line has the route's pattern and never the URL, which may hold a token or a password.
 */
export function accessLog(log: Log): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const started = Date.now();
    // Never the caller's own: two requests must not share one.
    const requestId = crypto.randomUUID();
    c.set("requestId", requestId);
    await next();
    if (c.get("unlogged")) return;
    log.info("request", {
      method: c.req.method,
      route: c.get("route") ?? "unmatched",
      status: c.res.status,
      ms: Date.now() - started,
      cache: c.get("cache"),
      request_id: requestId,
    });
  };
}
