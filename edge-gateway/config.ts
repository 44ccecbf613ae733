import { flag, section } from "@flick/platform/live-config/settings.ts";
import type * as v from "valibot";

import { feedSettings } from "./feed-cache-settings.ts";
import { limitSettings } from "./limit-policies.ts";

/** What may be turned off while something is wrong. */
const featureSettings = section({
  registration: flag({ default: true, what: "new accounts" }),
  publishing: flag({ default: true, what: "new videos" }),
  comments: flag({ default: true, what: "new comments; those that are there can be read and deleted" }),
  messages: flag({ default: true, what: "new messages; those that are there can be read" }),
});

/** The live configuration of the gateway: a section for each part of it, which that part declares. */
export const gatewayConfig = section({
  features: featureSettings,
  feed: feedSettings,
  limits: limitSettings,
});

export type GatewayConfig = v.InferOutput<typeof gatewayConfig>;
export type FeatureSettings = GatewayConfig["features"];
