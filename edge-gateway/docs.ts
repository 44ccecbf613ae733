import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { Hono } from "hono";
import { etag } from "hono/etag";
import { routePath } from "hono/route";

import { pageFiles, pageHtml } from "./docs-page-files.ts";
import type { Endpoint, GatewayEnv } from "./endpoint.ts";
import { describeApi } from "./openapi.ts";
import type { RateLimit } from "./rate-limit.ts";
import type { Handler, Serve } from "./serve.ts";

/** Nothing but what comes from here itself, and calls to here. */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src data:",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

/** Serves the OpenAPI document at `/openapi.json`, and at `/docs` a page that shows it and makes calls to this gateway. */
export function addDocs(app: Hono<GatewayEnv>, serve: Serve, endpoints: readonly Endpoint[], limits: RateLimit): void {
  const add = (path: string, answer: Handler) => {
    const counted: Handler = async (c) => {
      await limits.request(c);
      return answer(c);
    };
    app.get(path, serve(cached(counted)));
  };
  let document: string | undefined;

  add("/openapi.json", (c) => {
    document ??= JSON.stringify(describeApi(endpoints));
    return c.body(document, 200, { "content-type": "application/json" });
  });

  add("/docs", (c) => {
    return c.html(pageHtml, 200, {
      "content-security-policy": pagePolicy,
      "referrer-policy": "no-referrer",
    });
  });

  add("/docs/:file", (c) => {
    const file = c.req.param("file") ?? "";
    const text = pageFiles.get(file);
    if (text === undefined) throw flickError(Reason.PATH_NOT_FOUND, "There is nothing at this path.");
    const type = file.endsWith(".css") ? "text/css" : "text/javascript";
    return c.body(text, 200, { "content-type": `${type}; charset=utf-8` });
  });
}

const addTag = etag();

/** May be kept, and must be asked for again: a new version shows itself at once, and an old one costs no body. */
const cached =
  (handler: Handler): Handler =>
  async (c) => {
    c.set("route", routePath(c));
    await addTag(c, async () => {
      c.res = await handler(c);
    });
    c.header("cache-control", "public, no-cache");
    return c.res;
  };
