import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { Hono } from "hono";

import { createApp } from "./app.ts";
import type { GatewayEnv } from "./endpoint.ts";
import { readBindings } from "./env.ts";
import { createGatewayConfig } from "./live-config.ts";
import { consoleLog } from "./log.ts";
import { createOrigin } from "./origin.ts";
import { connectRedis } from "./redis.ts";

/** The gateway, or why its bindings do not make one, a sentence for each. */
export type Gateway = { app: Hono<GatewayEnv> } | { problems: string[] };

/**
 * Makes the gateway from what its runtime binds. It holds plain data only: on Workers no request may wait for another's I/O, so
 * nothing here may be a promise that a request started.
 */
export function createGateway(bindings: unknown): Gateway {
  const result = readBindings(bindings);
  if ("problems" in result) return result;
  const {
    ORIGIN_URL,
    UPSTASH_REDIS_REST_URL: url,
    UPSTASH_REDIS_REST_TOKEN: token,
    MAX_UPLOAD_BYTES,
  } = result.settings;
  const redis = url && token ? connectRedis({ url, token }) : null;
  const origin = createOrigin(ORIGIN_URL);
  const config = createGatewayConfig(redis, consoleLog);
  return { app: createApp({ origin, redis, config, log: consoleLog, maxUploadBytes: MAX_UPLOAD_BYTES }) };
}

/** Says what to mend to the person who deploys. Names of bindings are no secret; their values are not quoted. */
export function answerProblems(problems: string[]): Response {
  consoleLog.error("bad bindings", { problems });
  const message = `The gateway's bindings are not right: ${problems.join("; ")}.`;
  return Response.json({ status_code: Reason.INTERNAL, status_msg: message }, { status: 500 });
}
