import { getOption } from "@bufbuild/protobuf";
import { Code, ConnectError, createContextKey, type Interceptor } from "@connectrpc/connect";
import { databaseFault, withoutValues, type DatabaseFault } from "@flick/db/errors.ts";
import type { AccessToken } from "@flick/platform/access-token/access-token.ts";
import type { Log } from "@flick/platform/log.ts";
import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { Access, access } from "@flick/proto/gen/flick/access/v1/access_pb.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { serviceTokenHeader } from "@flick/proto/service-token.ts";

/** Who calls: a signed-in viewer, one of our programs, or nobody that we know. */
export interface Caller {
  /** 0 when nobody is signed in. */
  viewerId: number;
  /** What the viewer signed in with, null when nobody did. */
  token: AccessToken | null;
  /** The calling program, or null. */
  service: string | null;
}

export const callerKey = createContextKey<Caller>({ viewerId: 0, token: null, service: null });

export interface Identities {
  /** @throws UNAUTHENTICATED when the token is not valid. */
  viewer: (token: string) => Promise<AccessToken>;
  /** Is a token that was valid a few minutes ago no longer? */
  hasEnded: (token: AccessToken) => boolean;
  /** Null when the token is not valid. */
  service: (token: string) => Promise<string | null>;
}

/**
 * Finds out who calls, by tokens that are verified here and never by a header's word, and lets the call through if the method's
 * `access` option allows it. A method without that option is closed to everybody.
 */
export function createCallerInterceptor(identities: Identities): Interceptor {
  return (next) => async (request) => {
    const caller = await identify(request.header, identities);
    const level = request.stream ? Access.UNSPECIFIED : getOption(request.method, access);
    if (level === Access.VIEWER && !caller.viewerId)
      throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
    if (level === Access.SERVICE && !caller.service)
      throw flickError(Reason.PERMISSION_DENIED, "this call is not open to you");
    if (level === Access.UNSPECIFIED) throw flickError(Reason.PERMISSION_DENIED, "this call is not open to anybody");
    request.contextValues.set(callerKey, caller);
    return next(request);
  };
}

/** @throws UNAUTHENTICATED when a token is there but not valid. */
export async function identify(headers: Headers, identities: Identities): Promise<Caller> {
  const serviceToken = headers.get(serviceTokenHeader);
  const service = serviceToken ? await identities.service(serviceToken) : null;
  if (serviceToken && !service) throw flickError(Reason.UNAUTHENTICATED, "the service token is not valid");
  const text = bearerToken(headers);
  const token = text === null ? null : await identities.viewer(text);
  return { viewerId: token?.userId ?? 0, token, service };
}

function bearerToken(headers: Headers): string | null {
  const header = headers.get("authorization");
  if (!header) return null;
  return /^bearer +(\S+)$/i.exec(header)?.[1] ?? "";
}

/** Ends a call at its deadline (or ours, where the caller set none) although its handler may still wait for something. */
export function createDeadlineInterceptor(): Interceptor {
  return (next) => (request) => {
    const { signal } = request;
    const expired = new Promise<never>((_resolve, reject) => {
      const expire = () => reject(flickError(Reason.TIMEOUT, "the call took too long"));
      if (signal.aborted) expire();
      else signal.addEventListener("abort", expire, { once: true });
    });
    return Promise.race([next(request), expired]);
  };
}

/** Turns whatever was thrown into an error that callers may see; what is our fault is logged with its cause. */
export function createErrorInterceptor(log: Log): Interceptor {
  return (next) => async (request) => {
    try {
      return await next(request);
    } catch (error) {
      throw publicError(error, log, {
        method: `${request.service.typeName}/${request.method.name}`,
        requestId: request.header.get("x-request-id") ?? undefined,
      });
    }
  };
}

const faultReasons: Record<Exclude<DatabaseFault, "duplicate">, [Reason, string]> = {
  conflict: [Reason.BUSY, "too many changes to the same thing at once: try again"],
  busy: [Reason.BUSY, "the database is busy: try again"],
  timeout: [Reason.TIMEOUT, "the database took too long"],
  unavailable: [Reason.UNAVAILABLE, "the database cannot be reached at the moment: try again"],
};

/** See {@link createErrorInterceptor}; also for requests that do not come through it. */
export function publicError(
  error: unknown,
  log: Log,
  where: { method: string; requestId: string | undefined },
): ConnectError {
  if (error instanceof ConnectError) {
    if (reasonOf(error) === Reason.INTERNAL && error.code !== Code.Unimplemented)
      log.error("call failed", { ...where, error });
    return error;
  }
  const fault = databaseFault(error);
  if (fault && fault !== "duplicate") {
    log.warn("database fault", { ...where, fault, error: withoutValues(error) });
    const [reason, message] = faultReasons[fault];
    return flickError(reason, message, error);
  }
  log.error("call failed", { ...where, error: withoutValues(error) });
  return flickError(Reason.INTERNAL, "internal error", error);
}
