/** What `bench/rpc.ts` calls: one service behind Connect's handler (`connect`) or behind ours (`own`), until standard input ends. */
import { createConnectRouter } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { serve } from "@flick/origin-services/server.ts";
import { createLog } from "@flick/platform/log.ts";

import { benchInterceptors, benchRoutes } from "./rpc-service.ts";

const log = createLog({ program: "bench", level: "error" });
/** Microseconds of processor time that this process has used so far. */
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return Promise.resolve(Response.json(user + system));
};
const url = process.argv[2] === "connect" ? serveByConnect() : serveByOwn();
process.stdout.write(`${url}\n`);
for await (const _ of Bun.stdin.stream());
process.exit(0);

function serveByOwn(): string {
  return serve({
    hostname: "127.0.0.1",
    port: 0,
    routes: benchRoutes,
    interceptors: benchInterceptors(log),
    handlers: { "/cpu": cpu },
    ready: () => Promise.resolve(),
    log,
  }).url;
}

function serveByConnect(): string {
  const router = createConnectRouter({
    grpc: false,
    connect: false,
    interceptors: benchInterceptors(log),
    readMaxBytes: 1024 * 1024,
    maxTimeoutMs: 30_000,
  });
  benchRoutes(router);
  const handlers = new Map<string, (request: Request) => Promise<Response>>([["/cpu", cpu]]);
  for (const handler of router.handlers) handlers.set(handler.requestPath, createFetchHandler(handler));
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => handlers.get(new URL(request.url).pathname)?.(request) ?? new Response(null, { status: 404 }),
  });
  return server.url.origin;
}
