import { EnvError } from "@flick/platform/env.ts";
import { createLog } from "@flick/platform/log.ts";

import { readOriginEnv } from "./env.ts";
import { startOrigin } from "./origin.ts";

const drainMs = 10_000;

try {
  const env = readOriginEnv();
  const log = createLog({ program: "origin", level: env.LOG_LEVEL });
  const origin = await startOrigin(env, log);
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
