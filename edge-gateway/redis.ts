import { Redis } from "@upstash/redis/cloudflare";

export type { Redis } from "@upstash/redis/cloudflare";

/** The edge does better without Redis than waiting for it: whoever asks has something to fall back on. */
const timeoutMs = 500;

/**
 * Redis over HTTP, which all locations of the edge share. A command rejects when it is not answered within 500 ms.
 *
 * Commands are not gathered across requests, as this client would by default: on Workers no request may wait for another's I/O. What
 * belongs together is sent by `pipeline()`.
 */
export function connectRedis(options: { url: string; token: string }): Redis {
  return new Redis({
    ...options,
    automaticDeserialization: false,
    enableAutoPipelining: false,
    enableTelemetry: false,
    readYourWrites: false,
    retry: false,
    signal: () => AbortSignal.timeout(timeoutMs),
  });
}
