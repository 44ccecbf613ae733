import { logSettings } from "@flick/platform/live-config/log-settings.ts";
import { flag, section, whole } from "@flick/platform/live-config/settings.ts";

/** The live configuration of the media workers. */
export const workerConfig = section({
  log: logSettings,
  jobs: section({
    paused: flag({ default: false, what: "take no more jobs; those at work go on" }),
    concurrency: whole({ default: 64, min: 1, max: 64, what: "jobs at work at once, where CONCURRENCY is not less" }),
  }),
});
