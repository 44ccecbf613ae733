import { gatewayConfig } from "@flick/edge-gateway/config.ts";
import { workerConfig } from "@flick/media-worker/config.ts";
import { originConfig } from "@flick/origin-services/config.ts";
import type { SettingsSchema } from "@flick/platform/live-config/settings.ts";

/** The programs that have a live configuration, under the names that it is stored under. */
export const programs: Record<string, SettingsSchema> = {
  gateway: gatewayConfig,
  origin: originConfig,
  "media-worker": workerConfig,
};
