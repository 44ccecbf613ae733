import { EnvError } from "@flick/platform/env.ts";
import { createLog } from "@flick/platform/log.ts";

import { readUpstashFrontEnv } from "./env.ts";
import { createUpstashFront } from "./upstash-front.ts";

const log = createLog({ program: "upstash-front" });

try {
  const env = readUpstashFrontEnv();
  const front = createUpstashFront({
    redisUrl: env.REDIS_URL,
    port: env.UPSTASH_FRONT_PORT,
    hostname: env.HOST,
    token: env.UPSTASH_REDIS_REST_TOKEN,
    log,
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("stopping", { signal });
      void front.stop().then(() => process.exit(0));
    });
  }
  log.info("listening", { url: front.url });
} catch (error) {
  if (error instanceof EnvError) process.stderr.write(`${error.message}\n`);
  else log.error("cannot start", { error });
  process.exit(1);
}
