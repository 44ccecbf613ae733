import { ConnectError } from "@connectrpc/connect";
import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { ErrorDetailSchema, Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { ContentfulStatusCode } from "hono/utils/http-status";

import type { GatewayContext } from "./endpoint.ts";
import type { Log } from "./log.ts";

/** HTTP statuses of what is not business; every other reason is an answer like any other and travels under 200. */
const statuses: Partial<Record<Reason, ContentfulStatusCode>> = {
  [Reason.UNAUTHENTICATED]: 401,
  [Reason.TOO_LARGE]: 413,
  [Reason.UNSUPPORTED_MEDIA_TYPE]: 415,
  [Reason.PATH_NOT_FOUND]: 404,
  [Reason.METHOD_NOT_ALLOWED]: 405,
  [Reason.RATE_LIMITED]: 429,
  [Reason.INTERNAL]: 500,
  [Reason.UNAVAILABLE]: 503,
  [Reason.BUSY]: 503,
  [Reason.TIMEOUT]: 504,
};

/** The HTTP status that a reason travels under. */
export function statusOf(reason: Reason): ContentfulStatusCode {
  return statuses[reason] ?? 200;
}

/** Said in place of a transport's own message, which is none of the client's business. */
const sentences: Partial<Record<Reason, string>> = {
  [Reason.INVALID_PARAMETER]: "The request is not valid.",
  [Reason.UNAUTHENTICATED]: "Sign in first.",
  [Reason.PERMISSION_DENIED]: "This is not open to you.",
  [Reason.UNAVAILABLE]: "The service cannot be reached at the moment: try again.",
  [Reason.BUSY]: "The service is busy: try again.",
  [Reason.TIMEOUT]: "The service took too long to answer: try again.",
};

/** Seconds after which a client may try again; an outage of ours is rarely shorter. */
const retryAfter = 2;

/** Answers whatever was thrown with the envelope of its reason, and logs what is our fault. */
export function answerError(log: Log): (thrown: unknown, c: GatewayContext) => Response {
  return (thrown, c) => {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const reason = reasonOf(error);
    const status = statusOf(reason);
    if (status >= 500) {
      const where = { route: c.get("route") ?? "unmatched", reason: Reason[reason], request_id: c.get("requestId") };
      if (status === 500) log.error("request failed", { ...where, error });
      else log.warn("request failed", { ...where, problem: error.message, cause: causeOf(error) });
    }
    if (status === 401) c.header("www-authenticate", "Bearer");
    if (status === 429 || status === 503) c.header("retry-after", String(c.get("retryAfter") ?? retryAfter));
    const message = messageOf(error, reason) ?? `Something went wrong on our side (request ${c.get("requestId")}).`;
    return c.json({ status_code: reason, status_msg: message, ...c.get("empty") }, status);
  };
}

export function answerNotFound(): never {
  throw flickError(Reason.PATH_NOT_FOUND, "There is nothing at this path.");
}

/** Only what carries a reason was written for the caller to read; and of a fault of our own even that is not shown. */
function messageOf(error: Error, reason: Reason): string | undefined {
  if (reason === Reason.INTERNAL) return undefined;
  const written = error instanceof ConnectError && error.findDetails(ErrorDetailSchema).length > 0;
  return written && error.rawMessage ? error.rawMessage : sentences[reason];
}

function causeOf({ cause }: Error): string | undefined {
  return cause instanceof Error ? cause.message : undefined;
}
