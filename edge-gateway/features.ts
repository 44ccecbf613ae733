import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import type { FeatureSettings } from "./config.ts";
import type { GatewayLiveConfig } from "./live-config.ts";

const sentences: Record<keyof FeatureSettings, string> = {
  registration: "New accounts cannot be made at the moment. Those who have one can sign in.",
  publishing: "Nothing can be published at the moment.",
  comments: "Comments are closed at the moment; those that are there can be read.",
  messages: "No messages can be sent at the moment; those that are there can be read.",
};

/** @throws TURNED_OFF with a sentence for the person who asks, when the operator has turned the feature off. */
export function requireFeature(config: GatewayLiveConfig, feature: keyof FeatureSettings): void {
  if (!config.current().features[feature]) throw flickError(Reason.TURNED_OFF, sentences[feature]);
}
