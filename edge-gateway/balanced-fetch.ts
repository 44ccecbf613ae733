import type { DescService } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { formatTimeout, parseTimeout } from "@flick/platform/rpc/deadline.ts";
import { drainingHeader, serviceOfPath } from "@flick/proto/instances.ts";

import type { Attempt, Balancer, Instance } from "./balancer.ts";

/** As the global one, but that what a URL names before its path is no place: see {@link anyOrigin}. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Stands in URLs for the instance that is to be chosen. */
export const anyOrigin = "http://origin";

export interface BalancedFetch {
  /** For unary calls, whose body is all there, and for a plain `GET`. The answer is read before it is given. */
  call: Fetch;
  /** For streams, which last: what was begun is never begun again. */
  transfer: Fetch;
  /** Asks those that were left out how they are, and tells the balancer. Never rejects. */
  probe(out: readonly Instance[]): Promise<void>;
}

/** Of a call that has no deadline. */
const defaultTimeoutMs = 30_000;
/** For an instance to say that it is well. */
const greetingTimeoutMs = 1_000;
/** Instances that one call may try: calls that were not begun are made elsewhere without being counted as retries. */
const maxAttempts = 3;
/** Longer answers are passed on as they come. */
const maxBufferedBytes = 1024 * 1024;

/**
 * Statuses of Cloudflare for an origin that it could not connect to: down, unreachable, its tunnel gone. Source:
 * developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors.
 */
const notConnected = new Set([521, 523, 530]);
/** Statuses of proxies before an instance that does not answer. Our own errors come under 200. */
const proxyErrors = new Set([502, 503, 504, 520, 522, 524]);

/**
 * A `fetch` that chooses an instance for every call, and another one when that is safe:
 * - A call that no instance has begun with (refused, draining) is made elsewhere, whatever it is.
 * - A call that does no harm twice, by the `idempotency_level` of its method, is repeated once, within the balancer's budget: when its
 *   connection broke, or when half of its time has passed without an answer.
 * - Any other goes to an instance that was heard of in the last second, or that answers a question first; where a
 *   runtime cannot tell a refused connection from a broken one (workerd), that keeps it from being lost to one that has gone. A call is
 *   repeated only where the question is answered.
 *
 * The deadline is that of the call's `grpc-timeout`, and the second instance is told what is left of it.
 *
 * @param options.ready is awaited before the first choice. @param options.now milliseconds since 1970.
 */
export function createBalancedFetch(options: {
  balancer: Balancer;
  services: readonly DescService[];
  ready: () => Promise<void>;
  fetch: Fetch;
  now: () => number;
}): BalancedFetch {
  const { balancer, ready, fetch, now } = options;
  const harmlessTwice = new Set(options.services.flatMap(harmlessPaths));

  /**
   * Asks an instance how it is before it is given what cannot be given twice. Where there is no other, nothing depends on it. An attempt
   * with one that is not well is ended.
   */
  async function isReady(
    attempt: Attempt,
    service: string,
    tried: ReadonlySet<string>,
    signal: AbortSignal | null | undefined,
  ): Promise<boolean> {
    if (!balancer.hasOther(service, tried) || (await greet(attempt.instance, signal))) return true;
    attempt.end(signal?.aborted ? "abandoned" : "lost");
    signal?.throwIfAborted();
    return false;
  }

  async function greet(instance: Instance, signal?: AbortSignal | null): Promise<boolean> {
    const timeout = AbortSignal.timeout(greetingTimeoutMs);
    const init = { redirect: "manual", signal: signal ? AbortSignal.any([signal, timeout]) : timeout } as const;
    try {
      const response = await fetch(`${instance.url}/healthz`, init);
      // Read, so that the connection may be used again.
      await response.arrayBuffer();
      balancer.probed(instance, response.ok);
      return response.ok;
    } catch {
      return false;
    }
  }

  async function call(url: string, init: RequestInit): Promise<Response> {
    await ready();
    const path = pathOf(url);
    const service = serviceOfPath(path);
    const harmless = harmlessTwice.has(path) || (init.method ?? "GET") === "GET";
    const headers = new Headers(init.headers);
    const timeout = headers.get("grpc-timeout");
    const deadline = now() + (timeout === null ? defaultTimeoutMs : parseTimeout(timeout));
    const tried = new Set<string>();
    let repeated = false;
    let last: Result | null = null;

    while (tried.size < maxAttempts && now() < deadline) {
      const attempt = balancer.begin(service, path, deadline, tried);
      if (!attempt) break;
      tried.add(attempt.instance.url);
      const asks = repeated || (!harmless && !balancer.isFresh(attempt.instance));
      if (asks && !(await isReady(attempt, service, tried, init.signal))) continue;
      const mayRepeat = harmless && !repeated;
      if (last || tried.size > 1) headers.set("grpc-timeout", formatTimeout(deadline - now()));
      last = await make(attempt, path, { ...init, headers }, deadline, mayRepeat ? tried : null);
      if (last.next === "final") break;
      if (last.next === "repeat") {
        if (!mayRepeat || !(last.paid || balancer.takeRetry())) break;
        repeated = true;
        // The only one may have closed a connection that was at rest.
        if (!balancer.hasOther(service, tried)) tried.clear();
      }
    }
    if (!last) throw new Error(`nobody can be reached who serves ${service || path}`);
    if (last.response) return last.response;
    throw last.error;
  }

  /** @param repeatable those tried, when the call may be given up at half of its time to be made elsewhere; else null. */
  async function make(
    attempt: Attempt,
    path: string,
    init: RequestInit,
    deadline: number,
    repeatable: ReadonlySet<string> | null,
  ): Promise<Result> {
    const late = new AbortController();
    let givenUp = false;
    const giveUp = () => {
      givenUp = balancer.hasWell(serviceOfPath(path), repeatable ?? new Set()) && balancer.takeRetry();
      if (givenUp) late.abort();
    };
    const timer = repeatable && setTimeout(giveUp, (deadline - now()) / 2);
    const signal =
      init.signal && repeatable ? AbortSignal.any([init.signal, late.signal]) : (init.signal ?? late.signal);
    try {
      const response = await inMemory(await fetch(attempt.instance.url + path, { ...init, signal }));
      const [outcome, next] = judge(response);
      attempt.end(outcome);
      return { response, next };
    } catch (error) {
      if (givenUp) {
        attempt.end("failed");
        return { error, next: "repeat", paid: true };
      }
      if (init.signal?.aborted) {
        attempt.end(now() >= deadline ? "failed" : "abandoned");
        return { error, next: "final" };
      }
      attempt.end("lost");
      return { error, next: wasRefused(error) ? "elsewhere" : "repeat" };
    } finally {
      if (timer) clearTimeout(timer);
    }
  }

  async function transfer(url: string, init: RequestInit): Promise<Response> {
    await ready();
    const path = pathOf(url);
    const service = serviceOfPath(path);
    const tried = new Set<string>();
    while (tried.size < maxAttempts) {
      const attempt = balancer.beginTransfer(service, tried);
      if (!attempt) break;
      tried.add(attempt.instance.url);
      if (!(await isReady(attempt, service, tried, init.signal))) continue;
      try {
        const response = await fetch(attempt.instance.url + path, init);
        attempt.end(judge(response)[0]);
        return response;
      } catch (error) {
        attempt.end(init.signal?.aborted ? "abandoned" : "lost");
        throw error;
      }
    }
    throw new Error(`nobody can be reached who serves ${service}`);
  }

  return {
    call,
    transfer,
    async probe(out) {
      await Promise.all(
        out.map(async (instance) => {
          if (!(await greet(instance))) balancer.probed(instance, false);
        }),
      );
    },
  };
}

interface Result {
  response?: Response;
  error?: unknown;
  /** May it be made elsewhere: no; yes, for it was not begun; yes, if it does no harm twice. */
  next: "final" | "elsewhere" | "repeat";
  /** The retry was taken out of the budget already. */
  paid?: boolean;
}

function judge({ status, headers }: Response): [Parameters<Attempt["end"]>[0], Result["next"]] {
  if (status === 503 && headers.has(drainingHeader)) return ["draining", "elsewhere"];
  if (notConnected.has(status)) return ["lost", "elsewhere"];
  if (proxyErrors.has(status)) return ["failed", "repeat"];
  return ["answered", "final"];
}

/** An answer that breaks off is noticed here, where the call may still be repeated. */
async function inMemory(response: Response): Promise<Response> {
  const length = Number(response.headers.get("content-length") ?? Infinity);
  if (length > maxBufferedBytes) return response;
  const { status, headers } = response;
  return new Response(await response.arrayBuffer(), { status, headers });
}

/** Bun gives a code, Deno a sentence; workerd says no more than that the connection is lost. */
function wasRefused(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = "code" in error ? error.code : undefined;
  return code === "ConnectionRefused" || code === "ECONNREFUSED" || /connection refused/i.test(error.message);
}

const harmlessPaths = (service: DescService) =>
  service.methods
    .filter(({ idempotency }) => idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN)
    .map(({ name }) => `/${service.typeName}/${name}`);

function pathOf(url: string): string {
  return url.slice(anyOrigin.length);
}
