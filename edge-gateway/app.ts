import { Hono } from "hono";

import { accessLog } from "./access-log.ts";
import type { Auth } from "./auth.ts";
import type { Discovery } from "./discovery.ts";
import { addDocs } from "./docs.ts";
import { addEndpoints, type GatewayEnv } from "./endpoint.ts";
import { endpoints } from "./endpoints.ts";
import { answerError, answerNotFound } from "./errors.ts";
import type { Feed } from "./feed.ts";
import { addAnswerHeaders, answerPreflight } from "./headers.ts";
import type { GatewayLiveConfig } from "./live-config.ts";
import type { Log } from "./log.ts";
import type { Origin } from "./origin.ts";
import { addPublicKeys } from "./public-keys.ts";
import type { RateLimit } from "./rate-limit.ts";
import type { Redis } from "./redis.ts";
import { refuseTooLong } from "./request-limits.ts";

export interface AppDeps {
  auth: Auth;
  origin: Origin;
  discovery: Pick<Discovery, "keepUp">;
  /** Null where there is none: then what the locations of the edge would share stays in each. */
  redis: Redis | null;
  config: GatewayLiveConfig;
  limits: RateLimit;
  feed: Feed;
  log: Log;
  maxUploadBytes: number;
}

/** The public HTTP API. Paths answer with and without their trailing slash. */
export function createApp(deps: AppDeps): Hono<GatewayEnv> {
  const app = new Hono<GatewayEnv>({ strict: false });
  app.onError(answerError(deps.log));
  app.use(accessLog(deps.log));
  // One for all that takes no time: a middleware of its own would cost every request a turn, and what the runtime tells of a request is dear.
  app.use(async (c, next) => {
    const { url, method } = c.req.raw;
    const refused = method === "OPTIONS" ? await answerPreflight(c, next) : refuseTooLong(c, url);
    if (refused) {
      c.res = refused;
    } else {
      deps.discovery.keepUp(c);
      const firstLook = deps.config.refresh(c);
      if (firstLook) await firstLook;
      await next();
    }
    if (!c.get("headed")) addAnswerHeaders(c.res.headers, { id: c.get("requestId"), url });
  });

  addEndpoints(app, endpoints, deps);
  addPublicKeys(app, deps);
  addDocs(app, endpoints, deps.limits);
  // A route, because what Hono's own notFound throws passes the middleware by.
  app.all("*", async (c) => {
    await deps.limits.request(c);
    return answerNotFound();
  });
  return app;
}
