import type { Context } from "hono";
import { cors } from "hono/cors";

/** A browser that came once by https comes by nothing else for a year. */
const hsts = "max-age=31536000";

/**
 * Sets what every answer says: nothing that we answer is a page, and nearly all of it is meant for one person. Web apps of any origin may call
 * us: a caller proves itself by a token that it must send itself, never by a cookie.
 */
export function addAnswerHeaders(c: Context, url: string): void {
  c.header("x-content-type-options", "nosniff");
  c.header("cache-control", "no-store");
  c.header("access-control-allow-origin", "*");
  c.header("access-control-expose-headers", exposed);
  // RFC 6797 forbids it where nothing is encrypted.
  if (url.startsWith("https:")) c.header("strict-transport-security", hsts);
}

const exposedNames = [
  "x-request-id",
  "retry-after",
  "ratelimit-limit",
  "ratelimit-remaining",
  "ratelimit-reset",
  "ratelimit-policy",
];
const exposed = exposedNames.join(",");

/**
 * Answers a browser's question whether it may call. Only such questions go through Hono's own middleware: it makes a response before there is an
 * answer, whose headers are then copied one by one.
 */
export const answerPreflight = cors({
  origin: "*",
  allowMethods: ["GET", "HEAD", "POST"],
  allowHeaders: ["authorization", "content-type"],
  exposeHeaders: exposedNames,
  maxAge: 86_400,
});
