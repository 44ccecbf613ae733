import type { GatewayContext } from "./endpoint.ts";

/** Lets work go on after the answer, for as long as the runtime allows. It must not reject. */
export function inBackground(c: GatewayContext, work: Promise<void>): void {
  try {
    c.executionCtx.waitUntil(work);
  } catch {
    // Hono throws where the runtime has no such thing: there, work goes on anyway.
  }
}
