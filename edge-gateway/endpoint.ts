import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { Context, Hono } from "hono";
import { routePath } from "hono/route";

export interface GatewayEnv {
  Variables: {
    requestId: string;
    /** Pattern of the route that took the request. */
    route?: string;
    /** The fields that this endpoint adds to the envelope, with empty values. */
    empty?: Fields;
  };
}

export type GatewayContext = Context<GatewayEnv>;

export type Fields = Record<string, unknown>;

const allowed = { GET: "GET, HEAD, OPTIONS", POST: "POST, OPTIONS" };

/**
 * Adds one endpoint of the public API.
 *
 * @param empty the endpoint's own fields, as they are when the call fails.
 * @param answer resolves to the same fields with their values, or to a response that has no envelope; what it throws becomes the
 * error envelope.
 */
export function addEndpoint(
  routes: Hono<GatewayEnv>,
  method: keyof typeof allowed,
  path: string,
  empty: Fields,
  answer: (c: GatewayContext) => Promise<Fields | Response>,
): void {
  routes.all(path, async (c) => {
    c.set("route", routePath(c));
    c.set("empty", empty);
    const asked = c.req.method === "HEAD" ? "GET" : c.req.method;
    if (asked !== method) {
      c.header("allow", allowed[method]);
      throw flickError(Reason.METHOD_NOT_ALLOWED, `This path takes ${method} requests.`);
    }
    const answered = await answer(c);
    return answered instanceof Response ? answered : c.json({ status_code: 0, status_msg: "success", ...answered });
  });
}
