import { Hono } from "hono";

import { accessLog } from "./access-log.ts";
import type { GatewayEnv } from "./endpoint.ts";
import { answerError, answerNotFound } from "./errors.ts";
import { browserAccess, safeHeaders } from "./headers.ts";
import type { Log } from "./log.ts";
import type { Origin } from "./origin.ts";
import type { Redis } from "./redis.ts";
import { commentRoutes } from "./routes/comment.ts";
import { favoriteRoutes } from "./routes/favorite.ts";
import { healthRoutes } from "./routes/health.ts";
import { messageRoutes } from "./routes/message.ts";
import { relationRoutes } from "./routes/relation.ts";
import { userRoutes } from "./routes/user.ts";
import { videoRoutes } from "./routes/video.ts";

export interface AppDeps {
  origin: Origin;
  /** Null where there is none: then what the locations of the edge would share stays in each. */
  redis: Redis | null;
  log: Log;
  maxUploadBytes: number;
}

/** The public HTTP API. Paths answer with and without their trailing slash. */
export function createApp(deps: AppDeps): Hono<GatewayEnv> {
  const app = new Hono<GatewayEnv>({ strict: false });
  app.onError(answerError(deps.log));
  app.notFound(answerNotFound);

  app.use(accessLog(deps.log));
  app.use(safeHeaders);
  app.use(browserAccess);

  app.route("/", healthRoutes());
  app.route("/douyin", userRoutes(deps));
  app.route("/douyin", videoRoutes(deps));
  app.route("/douyin", favoriteRoutes(deps));
  app.route("/douyin", commentRoutes(deps));
  app.route("/douyin", relationRoutes(deps));
  app.route("/douyin", messageRoutes(deps));
  return app;
}
