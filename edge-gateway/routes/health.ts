import { Hono } from "hono";

import { addEndpoint, type GatewayEnv } from "../endpoint.ts";

/** Says that the gateway itself answers; it asks nobody else. */
export function healthRoutes(): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>();
  addEndpoint(routes, "GET", "/healthz", {}, async () => ({}));
  return routes;
}
