import { cors } from "hono/cors";

import type { GatewayContext } from "./endpoint.ts";

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
 * The headers of answers that differ in little but their request's id: ready ones, for setting them one by one is a good part of what an answer out of
 * memory costs a Worker. Give them to a Response at once: it copies them, and the next answer of the kind has the same ones.
 *
 * @param ownOf the headers that only answers of this kind have. There must be few kinds.
 */
export function createReadyHeaders(
  ownOf: (kind: string) => Record<string, string>,
): (kind: string, request: { id: string; url: string }) => Headers {
  const readyOnHttp = new Map<string, Headers>();
  const readyOnHttps = new Map<string, Headers>();
  return (kind, request) => {
    const ready = isEncrypted(request.url) ? readyOnHttps : readyOnHttp;
    const found = ready.get(kind);
    if (found) {
      found.set("x-request-id", request.id);
      return found;
    }
    const headers = new Headers(ownOf(kind));
    addAnswerHeaders(headers, request);
    ready.set(kind, headers);
    return headers;
  };
}

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
export async function answerPreflight(c: GatewayContext): Promise<Response> {
  return (await allowCalls(c, () => Promise.resolve())) ?? c.res;
}

const allowCalls = cors({
  origin: "*",
  allowMethods: ["GET", "HEAD", "POST"],
  // The last is how whoever reads a stream by `fetch`, for the sake of the header with the token, says where to go on.
  allowHeaders: ["authorization", "content-type", "last-event-id"],
  exposeHeaders: exposedNames,
  maxAge: 86_400,
});
