import { bindingNames } from "./env.ts";
import { createGateway } from "./gateway.ts";
import { consoleLog } from "./log.ts";

/** What is left to a runtime that is no Worker: to listen, and to end when it is asked to. */
export interface Standalone {
  hostname: string;
  /** 0 takes a free one. */
  port: number;
  fetch(request: Request, client: Client): Response | Promise<Response>;
  /** Resolves when nothing goes on in the background any more. */
  settled(): Promise<void>;
}

/** Who is at the other end of a connection. */
interface Client {
  address: string | undefined;
}

/** Names the header in which the proxy before the gateway says where a request comes from. Without a proxy, clients could say it. */
const addressHeader = "CLIENT_ADDRESS_HEADER";

/** What a program on such a runtime looks for in its environment. */
export const standaloneVariables: readonly string[] = ["HOST", "PORT", addressHeader, ...bindingNames];

/** Time for requests at work to end when the program is asked to. */
export const drainMs = 10_000;

/**
 * The gateway as a program of its own, with its bindings, `HOST`, `PORT` and `CLIENT_ADDRESS_HEADER` from the environment.
 *
 * @returns null when they are not right; what is wrong has been logged then.
 */
export function createStandalone(env: (name: string) => string | undefined): Standalone | null {
  const given = bindingNames
    .map((name) => [name, env(name)])
    .filter(([, value]) => value !== undefined && value !== "");
  const header = env(addressHeader);
  const gateway = createGateway(Object.fromEntries(given), {
    addressOf: (c) => (header ? c.req.header(header) : (c.env as Client).address),
  });
  const port = Number(env("PORT") || "8080");
  const problems = "problems" in gateway ? gateway.problems : [];
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    problems.push("PORT must be a whole number from 0 to 65535");
  if (!("app" in gateway) || problems.length > 0) {
    consoleLog.error("cannot start", { problems });
    return null;
  }
  const background = new Set<Promise<unknown>>();
  const context = {
    waitUntil(work: Promise<unknown>) {
      const ended = work.catch((error: unknown) => consoleLog.error("failed in the background", { error }));
      background.add(ended);
      void ended.finally(() => background.delete(ended));
    },
    passThroughOnException() {},
    props: {},
  };
  return {
    hostname: env("HOST") || "127.0.0.1",
    port,
    fetch: (request, client) => gateway.app.fetch(request, client, context),
    async settled() {
      while (background.size > 0) await Promise.all(background);
    },
  };
}
