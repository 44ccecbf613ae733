import type { AppDeps } from "./app.ts";
import type { GatewayContext } from "./endpoint.ts";
import { answerError } from "./errors.ts";
import { addAnswerHeaders, answerPreflight } from "./headers.ts";
import { refuseTooLong } from "./request-limits.ts";
import { andThen, type Soon } from "./soon.ts";

/** Answers the requests of a route. What it throws becomes the error envelope. */
export type Handler = (c: GatewayContext) => Soon<Response>;

/** Puts around the handler of a route what every request goes through, whatever it asks for. */
export type Serve = (handler: Handler) => Handler;

/**
 * Gives every request an id, which its answer, its log lines and its calls to the origin carry; refuses what is too long and answers
 * browsers' preflights; has done what is due when a request comes by; and ends with the headers that all answers have, and a line in the log.
 *
 * It is a function around handlers and no middleware: each of a chain, and the chain itself, would cost every request promises.
 */
export function createServe({ config, discovery, log }: Pick<AppDeps, "config" | "discovery" | "log">): Serve {
  const answerThrown = answerError(log);

  function admit(c: GatewayContext, handler: Handler): Soon<Response> {
    const { url, method } = c.req.raw;
    if (method === "OPTIONS") return answerPreflight(c);
    const refused = refuseTooLong(c, url);
    if (refused) return refused;
    discovery.keepUp(c);
    const firstLook = config.refresh(c);
    return firstLook ? firstLook.then(() => handler(c)) : handler(c);
  }

  function answer(c: GatewayContext, handler: Handler): Soon<Response> {
    try {
      const answered = admit(c, handler);
      return answered instanceof Promise ? answered.catch((error: unknown) => answerThrown(error, c)) : answered;
    } catch (error) {
      return answerThrown(error, c);
    }
  }

  function finish(c: GatewayContext, response: Response, began: number): Response {
    const id = c.get("requestId");
    if (!c.get("headed")) addAnswerHeaders(response.headers, { id, url: c.req.raw.url });
    // Never the URL, which may hold a token or a password.
    if (!c.get("unlogged"))
      log.info("request", {
        method: c.req.method,
        route: c.get("route") ?? "unmatched",
        status: response.status,
        ms: Date.now() - began,
        cache: c.get("cache"),
        request_id: id,
      });
    return response;
  }

  return (handler) => (c) => {
    const began = Date.now();
    // Never the caller's own: two requests must not share one.
    c.set("requestId", crypto.randomUUID());
    return andThen(answer(c, handler), (response) => finish(c, response, began));
  };
}
