import type { ConnectRouter, Interceptor } from "@connectrpc/connect";
import type { Log } from "@flick/platform/log.ts";
import { createRpcHandlers } from "@flick/platform/rpc/rpc-handlers.ts";
import { drainingHeader } from "@flick/proto/instances.ts";

export interface ServerOptions {
  hostname: string;
  /** 0 takes a free one. */
  port: number;
  routes: (router: ConnectRouter) => void;
  interceptors: Interceptor[];
  /** Requests that are not RPC, by path. */
  handlers: Record<string, (request: Request) => Promise<Response>>;
  /** Rejects when something that every call needs cannot be reached. */
  ready: () => Promise<void>;
  log: Log;
}

const maxMessageBytes = 1024 * 1024;
/** Bun's own limit, the largest that it takes: it answers without a body, so each handler has a smaller one and says so. */
const maxBodyBytes = 2 ** 32 - 1;
const maxCallMs = 30_000;
const readyTimeoutMs = 2_000;
const drainPollMs = 20;
/** Seconds in which a connection must move a byte. */
const idleSeconds = 60;

/**
 * Serves gRPC-web, a few plain paths, `/healthz` (this process takes calls) and `/readyz` (and what it needs is there).
 * `stop` refuses new calls at once, waits for those at work and then closes every connection.
 */
export function serve(options: ServerOptions): {
  url: string;
  /** Requests at work. */
  pending(): number;
  stop(drainMs: number): Promise<void>;
} {
  const rpcHandlers = createRpcHandlers({
    routes: options.routes,
    interceptors: options.interceptors,
    maxMessageBytes,
    maxCallMs,
    onFault: (error, method) => options.log.error("call failed", { method, error }),
  });
  const handlers = new Map([...Object.entries(options.handlers), ...rpcHandlers]);

  let draining = false;

  const server = Bun.serve({
    hostname: options.hostname,
    port: options.port,
    maxRequestBodySize: maxBodyBytes,
    idleTimeout: idleSeconds,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/healthz") return draining ? plain(503, "draining") : plain(200, "ok");
      if (pathname === "/readyz") return readiness(options.ready, draining);
      const handler = handlers.get(pathname);
      if (!handler) return plain(404, "no such path");
      if (draining) return plain(503, "draining", { [drainingHeader]: "true" });
      return handler(request);
    },
    error(error) {
      options.log.error("request failed", { error });
      return plain(500, "internal error");
    },
  });

  return {
    url: server.url.href.replace(/\/$/, ""),
    pending: () => server.pendingRequests,
    async stop(drainMs) {
      draining = true;
      const deadline = Date.now() + drainMs;
      while (server.pendingRequests > 0 && Date.now() < deadline) await Bun.sleep(drainPollMs);
      await server.stop(true);
    },
  };
}

async function readiness(ready: () => Promise<void>, draining: boolean): Promise<Response> {
  if (draining) return plain(503, "draining");
  try {
    await Promise.race([
      ready(),
      Bun.sleep(readyTimeoutMs).then(() => {
        throw new Error("timeout");
      }),
    ]);
    return plain(200, "ready");
  } catch {
    return plain(503, "not ready");
  }
}

function plain(status: number, text: string, headers: Record<string, string> = {}): Response {
  return new Response(`${text}\n`, { status, headers: { "content-type": "text/plain", ...headers } });
}
