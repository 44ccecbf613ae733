import { Hono } from "hono";

import type { Auth } from "./auth.ts";
import type { Discovery } from "./discovery.ts";
import { addDocs } from "./docs.ts";
import { addEndpoints, type GatewayEnv } from "./endpoint.ts";
import { endpoints } from "./endpoints.ts";
import { answerError, answerNotFound } from "./errors.ts";
import type { Feed } from "./feed.ts";
import type { GatewayLiveConfig } from "./live-config.ts";
import type { Log } from "./log.ts";
import type { Origin } from "./origin.ts";
import { addPublicKeys } from "./public-keys.ts";
import type { RateLimit } from "./rate-limit.ts";
import type { Redis } from "./redis.ts";
import { createServe } from "./serve.ts";
import { andThen } from "./soon.ts";

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
  const serve = createServe(deps);
  app.onError(answerError(deps.log));
  addEndpoints(app, serve, endpoints, deps);
  addPublicKeys(app, serve, deps);
  addDocs(app, serve, endpoints, deps.limits);
  app.notFound(serve((c) => andThen(deps.limits.request(c), answerNotFound)));
  return app;
}
