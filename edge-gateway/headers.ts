import { cors } from "hono/cors";

import { createBoundedMap } from "./bounded-map.ts";

/** A browser that came once by https comes by nothing else for a year. */
const hsts = "max-age=31536000";

/**
 * Adds to an answer what all of them say: nothing that we answer is a page, and nearly all of it is meant for one person. Web apps of any origin
 * may call us: a caller proves itself by a token that it must send itself, never by a cookie.
 */
export function addAnswerHeaders(headers: Headers, request: { id: string; url: string }): void {
  headers.set("x-request-id", request.id);
  headers.set("x-content-type-options", "nosniff");
  if (!headers.has("cache-control")) headers.set("cache-control", "no-store");
  headers.set("access-control-allow-origin", "*");
  headers.set("access-control-expose-headers", exposed);
  // RFC 6797 forbids it where nothing is encrypted.
  if (isEncrypted(request.url)) headers.set("strict-transport-security", hsts);
}

/**
 * The headers of answers that differ in nothing but their request's id. A copy of ready ones costs a Worker a fifth of what setting them one by
 * one does, which is a good part of an answer out of memory.
 */
export function createReadyHeaders(): (own: Record<string, string>, request: { id: string; url: string }) => Headers {
  const ready = createBoundedMap<string, Headers>(mostReady);
  return (own, request) => {
    const key = `${isEncrypted(request.url)} ${Object.values(own).join(" ")}`;
    let headers = ready.get(key);
    if (!headers) {
      headers = new Headers(own);
      addAnswerHeaders(headers, request);
      ready.set(key, headers);
    }
    const copy = new Headers(headers);
    copy.set("x-request-id", request.id);
    return copy;
  };
}

const mostReady = 64;

const isEncrypted = (url: string) => url.startsWith("https:");

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
