import type * as v from "valibot";

import { checkSettings, readDocument } from "./document.ts";
import type { SettingsSchema } from "./settings.ts";

/** What a program goes by at this moment. */
export interface LiveConfig<Config> {
  /** Ask each time: it changes while the program runs. */
  current(): Config;
  /** 0 while nothing but defaults applies. */
  version(): number;
  /**
   * Takes what is stored now: text, or null where nothing is, which means the defaults. What is no good is refused, and the last good
   * version goes on to apply.
   */
  take(stored: string | null): void;
}

interface ConfigLog {
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
}

/** How often a process looks for a new version: all of them have it within 10 s. */
export const refreshMs = 5_000;

/** Begins with the defaults. Knows nothing of where the documents come from, and keeps to what every runtime has. */
export function createLiveConfig<S extends SettingsSchema>(options: {
  schema: S;
  log: ConfigLog;
}): LiveConfig<v.InferOutput<S>> {
  const { schema, log } = options;
  const defaults = checkSettings(schema, {});
  if ("problems" in defaults) throw new TypeError(`bad defaults: ${defaults.problems.join("; ")}`);
  let current = defaults.config;
  let version = 0;
  let taken: string | null = null;

  function refuse(problems: string[], refused: { version?: number } = {}): void {
    log.warn("bad configuration: the last good one stays", { ...refused, stays: version, problems });
  }

  return {
    current: () => current,
    version: () => version,
    take(stored) {
      if (stored === taken) return;
      taken = stored;
      if (stored === null) {
        current = defaults.config;
        version = 0;
        log.info("no configuration is stored any more: the defaults apply");
        return;
      }
      const document = readDocument(stored);
      if (!document) return refuse(["it is no configuration document"]);
      const result = checkSettings(schema, document.settings);
      if ("problems" in result) return refuse(result.problems, { version: document.version });
      current = result.config;
      version = document.version;
      log.info("configuration taken", { version, note: document.note });
    },
  };
}
