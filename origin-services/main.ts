import { EnvError } from "@flick/platform/env.ts";
import { createLog, type LogLevel } from "@flick/platform/log.ts";

import { readOriginEnv } from "./env.ts";
import { startOrigin } from "./origin.ts";

const drainMs = 10_000;

try {
  const env = readOriginEnv();
  let level = (): LogLevel => env.LOG_LEVEL;
  const log = createLog({ program: "origin", level: () => level() });
  const origin = await startOrigin(env, log);
  level = origin.logLevel;
  log.info("listening", { url: origin.url, services: env.SERVICES });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("stopping", { signal });
      void origin.stop(drainMs).then(() => process.exit(0));
    });
  }
} catch (error) {
  process.stderr.write(`${error instanceof EnvError ? error.message : String(error)}\n`);
  process.exit(1);
}
