import { consoleLog } from "./log.ts";
import { createStandalone, drainMs } from "./standalone.ts";

/** Bun's own limit, the largest that it takes: it answers without a body, and the gateway has limits of its own that say so. */
const maxBodyBytes = 2 ** 32 - 1;
/** Seconds in which a connection must move a byte; a stream of messages does every 15 s. */
const idleSeconds = 60;

/** The gateway as a program on Bun. */
const gateway = createStandalone((name) => process.env[name]);
if (!gateway) process.exit(1);

const server = Bun.serve({
  hostname: gateway.hostname,
  port: gateway.port,
  maxRequestBodySize: maxBodyBytes,
  idleTimeout: idleSeconds,
  fetch: (request, self) => gateway.fetch(request, { address: self.requestIP(request)?.address }),
});
consoleLog.info("listening", { url: server.url.origin });

for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void stop(signal));

async function stop(signal: string): Promise<void> {
  consoleLog.info("stopping", { signal });
  const ended = Promise.all([server.stop(), gateway?.settled()]);
  await Promise.race([ended, Bun.sleep(drainMs)]);
  process.exit(0);
}
