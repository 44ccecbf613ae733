import { EnvError } from "@flick/platform/env.ts";
import { createLog } from "@flick/platform/log.ts";

import { readOssStoreEnv } from "./env.ts";
import { createOssStore } from "./oss-store.ts";

const log = createLog({ program: "oss-store" });

try {
  const env = readOssStoreEnv();
  const store = createOssStore({
    dataDir: env.OSS_STORE_DIR,
    port: env.OSS_STORE_PORT,
    hostname: env.HOST,
    bucket: env.OSS_BUCKET,
    region: env.OSS_REGION,
    accessKeyId: env.OSS_ACCESS_KEY_ID,
    accessKeySecret: env.OSS_ACCESS_KEY_SECRET,
    log,
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("stopping", { signal });
      void store.stop().then(() => process.exit(0));
    });
  }
  log.info("listening", { url: store.url });
} catch (error) {
  if (error instanceof EnvError) process.stderr.write(`${error.message}\n`);
  else log.error("cannot start", { error });
  process.exit(1);
}
