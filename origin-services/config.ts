import { logSettings } from "@flick/platform/live-config/log-settings.ts";
import { flag, section, whole } from "@flick/platform/live-config/settings.ts";
import * as v from "valibot";

/** How the cache is used. */
const cacheSettings = section({
  reads: flag({ default: true, what: "read from the cache; when off, every read goes to the database" }),
  ttlPercent: whole({ default: 100, min: 1, max: 1_000, what: "how long values are kept, of what their kind says" }),
  jitterPercent: whole({
    default: 20,
    min: 0,
    max: 50,
    what: "given to or taken from each time to live at random, so that what was stored together does not end together",
  }),
  unknownSeconds: whole({ default: 30, min: 1, max: 600, what: "how long it is remembered that an id does not exist" }),
});

/** The live configuration of the origin services. */
export const originConfig = section({
  log: logSettings,
  cache: cacheSettings,
});

export type OriginConfig = v.InferOutput<typeof originConfig>;
export type CacheSettings = OriginConfig["cache"];

export const defaultCacheSettings: CacheSettings = v.parse(cacheSettings, {});
