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

/** Web apps of any origin may call us: a caller proves itself by a token that it must send itself, never by a cookie. */
export const browserAccess = cors({
  origin: "*",
  allowMethods: ["GET", "HEAD", "POST"],
  allowHeaders: ["authorization", "content-type"],
  exposeHeaders: [
    "x-request-id",
    "retry-after",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit-policy",
  ],
  maxAge: 86_400,
});
