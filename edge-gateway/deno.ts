import { consoleLog } from "./log.ts";
import { createStandalone, drainMs } from "./standalone.ts";

/** All that is used of Deno; its own types would take the place of the Worker's. */
declare const Deno: {
  env: { get(name: string): string | undefined };
  serve(
    options: { hostname: string; port: number; onListen(address: { hostname: string; port: number }): void },
    handler: (request: Request, info: { remoteAddr: { hostname: string } }) => Response | Promise<Response>,
  ): { shutdown(): Promise<void> };
  addSignalListener(signal: "SIGTERM" | "SIGINT", listener: () => void): void;
  exit(code: number): never;
};

/** The gateway as a program on Deno. */
const gateway = createStandalone((name) => Deno.env.get(name));
if (!gateway) Deno.exit(1);

const server = Deno.serve(
  {
    hostname: gateway.hostname,
    port: gateway.port,
    onListen: ({ hostname, port }) => consoleLog.info("listening", { url: `http://${hostname}:${port}` }),
  },
  (request, { remoteAddr }) => gateway.fetch(request, { address: remoteAddr.hostname }),
);

for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, () => void stop(signal));

async function stop(signal: string): Promise<void> {
  consoleLog.info("stopping", { signal });
  const { promise: late, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, drainMs);
  await Promise.race([Promise.all([server.shutdown(), gateway?.settled()]), late]);
  Deno.exit(0);
}
