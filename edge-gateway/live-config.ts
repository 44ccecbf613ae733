import { configKey } from "@flick/platform/live-config/document.ts";
import { createLiveConfig, refreshMs, type LiveConfig } from "@flick/platform/live-config/live-config.ts";
import { inBackground } from "./background.ts";
import { gatewayConfig, type GatewayConfig } from "./config.ts";
import type { GatewayContext } from "./endpoint.ts";
import type { Log } from "./log.ts";
import type { Redis } from "./redis.ts";

export interface GatewayLiveConfig {
  /** Ask each time: it changes between requests. */
  current: LiveConfig<GatewayConfig>["current"];
  /** Looks for a new version now and then, when a request comes by. Gives what that request is to wait for, if anything. */
  refresh(c: GatewayContext): Promise<void> | undefined;
}

/** A request may end, with all that it has begun, before it has read what it wanted to. */
const lookGivenUpMs = 2_000;
/** So many requests find out for themselves while nothing is known yet; the others go by the defaults. */
const mostFirstLooks = 16;

/**
 * The gateway's configuration, by default the defaults. The requests keep it fresh: one of them reads it every few seconds, in its
 * background, and what it found is there for the next. Only the first ones of an isolate wait, each for its own reading, because what was
 * turned off shall be off for them, too.
 */
export function createGatewayConfig(redis: Redis | null, log: Log): GatewayLiveConfig {
  const live = createLiveConfig({ schema: gatewayConfig, log });
  let known = redis === null;
  let nextLook = 0;
  let firstLooks = 0;

  async function look(from: Redis): Promise<void> {
    try {
      live.take(await from.get<string>(configKey("gateway")));
    } catch (error) {
      log.warn("the configuration cannot be read: the last one stays", { problem: problemOf(error) });
    }
    known = true;
    nextLook = Date.now() + refreshMs;
  }

  return {
    current: live.current,
    refresh(c) {
      if (redis && !known && firstLooks < mostFirstLooks) {
        firstLooks++;
        return look(redis);
      }
      if (redis && Date.now() >= nextLook) {
        nextLook = Date.now() + lookGivenUpMs;
        inBackground(c, look(redis));
      }
      return undefined;
    },
  };
}

function problemOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
