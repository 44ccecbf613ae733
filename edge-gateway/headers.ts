import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";

/** A browser that came once by https comes by nothing else for a year. */
const hsts = "max-age=31536000";

/** Nothing that we answer is a page, and nearly all of it is meant for one person. */
export const safeHeaders: MiddlewareHandler = async (c, next) => {
  c.header("x-content-type-options", "nosniff");
  c.header("cache-control", "no-store");
  // RFC 6797 forbids it where nothing is encrypted.
  if (c.req.url.startsWith("https:")) c.header("strict-transport-security", hsts);
  await next();
};

const exposed = [
  "x-request-id",
  "retry-after",
  "ratelimit-limit",
  "ratelimit-remaining",
  "ratelimit-reset",
  "ratelimit-policy",
];

const preflight = cors({
  origin: "*",
  allowMethods: ["GET", "HEAD", "POST"],
  allowHeaders: ["authorization", "content-type"],
  exposeHeaders: exposed,
  maxAge: 86_400,
});

/**
 * Web apps of any origin may call us: a caller proves itself by a token that it must send itself, never by a cookie. Hono's own middleware
 * makes a response before there is an answer, whose headers are then copied one by one; so it has the preflights only.
 */
export const browserAccess: MiddlewareHandler = (c, next) => {
  if (c.req.method === "OPTIONS") return preflight(c, next);
  c.header("access-control-allow-origin", "*");
  c.header("access-control-expose-headers", exposed.join(","));
  return next();
};
