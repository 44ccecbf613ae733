import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import type { Endpoint } from "./endpoint.ts";
import { statusOf } from "./errors.ts";
import { paramNames } from "./openapi-schemas.ts";

/** What each `status_code` says, as a client may read it in `status_msg`. */
export const reasonSentences: Record<Reason, string> = {
  [Reason.UNSPECIFIED]: "success",
  [Reason.INVALID_PARAMETER]: "A parameter is missing, or not as it must be: the message names it.",
  [Reason.UNAUTHENTICATED]: "Sign in first: the token is missing, has expired or is not valid.",
  [Reason.PERMISSION_DENIED]: "This is not open to you.",
  [Reason.TOO_LARGE]: "The body is too large: the message has the limit.",
  [Reason.UNSUPPORTED_MEDIA_TYPE]: "The body's content type is not one that this path takes.",
  [Reason.PATH_NOT_FOUND]: "There is nothing at this path.",
  [Reason.METHOD_NOT_ALLOWED]: "This path takes other requests: `Allow` names them.",
  [Reason.RATE_LIMITED]: "Too many requests: try again after `Retry-After` seconds.",
  [Reason.TURNED_OFF]: "This is turned off for a while: the message says what still works.",
  [Reason.INTERNAL]: "Something went wrong on our side.",
  [Reason.UNAVAILABLE]: "The service cannot be reached at the moment: try again.",
  [Reason.TIMEOUT]: "The service took too long to answer: try again.",
  [Reason.BUSY]: "The service is busy: try again.",
  [Reason.USERNAME_TAKEN]: "This username is already in use.",
  [Reason.WRONG_CREDENTIALS]: "Wrong username or password.",
  [Reason.USER_NOT_FOUND]: "There is no such user.",
  [Reason.NOT_AN_IMAGE]: "This is not a picture that we can read.",
  [Reason.MISSING_FILE]: "The file is missing.",
  [Reason.NOT_A_VIDEO]: "This is not a video that we can read.",
  [Reason.VIDEO_NOT_FOUND]: "There is no such video.",
  [Reason.CLAIM_LOST]: "Another worker has this job now, or it has ended.",
  [Reason.UPLOAD_NOT_FOUND]: "There is no such upload of yours, or it is gone: begin a new one.",
  [Reason.UPLOAD_INCOMPLETE]: "Parts of the upload are missing: ask for their addresses.",
  [Reason.VIDEO_NOT_READY]: "This video is still being processed, or has failed.",
  [Reason.COMMENT_NOT_FOUND]: "This video has no such comment.",
  [Reason.COMMENT_NOT_YOURS]: "Only its author and the video's may delete a comment.",
  [Reason.SELF_FOLLOW]: "Nobody follows themselves.",
  [Reason.SELF_MESSAGE]: "Nobody writes to themselves.",
};

/** Of those, what no public endpoint answers. */
const internal = new Set([Reason.UNSPECIFIED, Reason.CLAIM_LOST]);

export const publicReasons: readonly Reason[] = Object.values(Reason).filter(
  (reason): reason is Reason => typeof reason === "number" && !internal.has(reason),
);

/** Why an endpoint's calls may fail, by HTTP status, in ascending order; 200 holds the business errors. */
export function failuresOf(endpoint: Endpoint): Map<number, Reason[]> {
  const byStatus = new Map<number, Reason[]>();
  for (const reason of new Set(reasonsOf(endpoint))) {
    const status = statusOf(reason);
    byStatus.set(status, [...(byStatus.get(status) ?? []), reason]);
  }
  return new Map([...byStatus].toSorted(([a], [b]) => a - b));
}

function reasonsOf({ method, tag, access, params, files, errors = [] }: Endpoint): Reason[] {
  return [
    ...(files || paramNames(params).length > 0 ? [Reason.INVALID_PARAMETER] : []),
    ...(access === "public" ? [] : [Reason.UNAUTHENTICATED]),
    ...(method === "POST" ? [Reason.TOO_LARGE, Reason.UNSUPPORTED_MEDIA_TYPE] : []),
    ...errors,
    Reason.RATE_LIMITED,
    Reason.INTERNAL,
    // What the gateway answers by itself waits for nobody.
    ...(tag === "Service" ? [] : [Reason.UNAVAILABLE, Reason.BUSY, Reason.TIMEOUT]),
  ];
}
