import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { Hono } from "hono";

import { createApp } from "./app.ts";
import { createAuth } from "./auth.ts";
import { createDiscovery } from "./discovery.ts";
import type { GatewayContext, GatewayEnv } from "./endpoint.ts";
import { readBindings } from "./env.ts";
import type { ResponseCache } from "./feed-cache-layers.ts";
import { createFeed } from "./feed.ts";
import { createGatewayConfig } from "./live-config.ts";
import { consoleLog } from "./log.ts";
import { createPseudonyms } from "./pseudonyms.ts";
import { createQuotas } from "./quotas.ts";
import { createRateLimit } from "./rate-limit.ts";
import { createOrigin, originServices } from "./origin.ts";
import { connectRedis } from "./redis.ts";
import { tierLimiters } from "./tier-limiters.ts";

/** The gateway, or why its bindings do not make one, a sentence for each. */
export type Gateway = { app: Hono<GatewayEnv> } | { problems: string[] };

/** What each runtime knows in its own way. */
export interface Runtime {
  /** Where a request comes from; never something that its client may say. */
  addressOf(c: GatewayContext): string | undefined;
}

/**
 * Makes the gateway from what its runtime binds. It holds plain data only: on Workers no request may wait for another's I/O, so
 * nothing here may be a promise that a request started.
 */
export function createGateway(bindings: unknown, runtime: Runtime): Gateway {
  const result = readBindings(bindings);
  if ("problems" in result) return result;
  const {
    ORIGIN_URL: staticUrls,
    ORIGIN_NETWORK: network,
    UPSTASH_REDIS_REST_URL: url,
    UPSTASH_REDIS_REST_TOKEN: token,
    MAX_UPLOAD_BYTES,
    IP_LIMIT_FACTOR: ipFactor,
  } = result.settings;
  const redis = url && token ? connectRedis({ url, token }) : null;
  const discovery = createDiscovery({ redis, staticUrls, services: originServices, network, log: consoleLog });
  const origin = createOrigin(discovery.fetch);
  const auth = createAuth({ fetchKeys: origin.publicKeys, redis, log: consoleLog });
  const config = createGatewayConfig(redis, consoleLog);
  const limits = createRateLimit({
    limiters: tierLimiters(bindings, {
      ipFactor,
      onMissing: (names) => consoleLog.info("these limiters count in this process alone", { bindings: names }),
    }),
    quotas: redis && createQuotas(redis, consoleLog),
    pseudonym: createPseudonyms(token ?? ""),
    addressOf: (c) => runtime.addressOf(c),
    ipFactor,
    settings: () => config.current().limits,
  });
  const feed = createFeed({
    origin,
    redis,
    cache: edgeCache(),
    settings: () => config.current().feed,
    log: consoleLog,
  });
  return {
    app: createApp({
      auth,
      origin,
      discovery,
      redis,
      config,
      limits,
      feed,
      log: consoleLog,
      maxUploadBytes: MAX_UPLOAD_BYTES,
    }),
  };
}

/** Says what to mend to the person who deploys. Names of bindings are no secret; their values are not quoted. */
export function answerProblems(problems: string[]): Response {
  consoleLog.error("bad bindings", { problems });
  const message = `The gateway's bindings are not right: ${problems.join("; ")}.`;
  return Response.json({ status_code: Reason.INTERNAL, status_msg: message }, { status: 500 });
}

/** Workers alone have a cache that is nobody's in particular. */
function edgeCache(): ResponseCache | null {
  const { caches } = globalThis as { caches?: { default?: ResponseCache } };
  return caches?.default ?? null;
}
