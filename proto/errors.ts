import { Code, ConnectError } from "@connectrpc/connect";

import { ErrorDetailSchema, Reason } from "./gen/flick/error/v1/error_pb.ts";

/** The Connect code that each reason travels under, for clients that know only Connect. */
const codes: Record<Reason, Code> = {
  [Reason.UNSPECIFIED]: Code.Unknown,
  [Reason.INVALID_PARAMETER]: Code.InvalidArgument,
  [Reason.UNAUTHENTICATED]: Code.Unauthenticated,
  [Reason.PERMISSION_DENIED]: Code.PermissionDenied,
  [Reason.TOO_LARGE]: Code.OutOfRange,
  [Reason.UNSUPPORTED_MEDIA_TYPE]: Code.InvalidArgument,
  [Reason.PATH_NOT_FOUND]: Code.Unimplemented,
  [Reason.METHOD_NOT_ALLOWED]: Code.Unimplemented,
  [Reason.RATE_LIMITED]: Code.ResourceExhausted,
  [Reason.TURNED_OFF]: Code.FailedPrecondition,
  [Reason.INTERNAL]: Code.Internal,
  [Reason.UNAVAILABLE]: Code.Unavailable,
  [Reason.TIMEOUT]: Code.DeadlineExceeded,
  [Reason.BUSY]: Code.Unavailable,
  [Reason.USERNAME_TAKEN]: Code.AlreadyExists,
  [Reason.WRONG_CREDENTIALS]: Code.FailedPrecondition,
  [Reason.USER_NOT_FOUND]: Code.NotFound,
  [Reason.NOT_AN_IMAGE]: Code.InvalidArgument,
  [Reason.MISSING_FILE]: Code.InvalidArgument,
  [Reason.NOT_A_VIDEO]: Code.InvalidArgument,
  [Reason.VIDEO_NOT_FOUND]: Code.NotFound,
  [Reason.CLAIM_LOST]: Code.Aborted,
  [Reason.UPLOAD_NOT_FOUND]: Code.NotFound,
  [Reason.UPLOAD_INCOMPLETE]: Code.FailedPrecondition,
  [Reason.VIDEO_NOT_READY]: Code.FailedPrecondition,
  [Reason.COMMENT_NOT_FOUND]: Code.NotFound,
  [Reason.COMMENT_NOT_YOURS]: Code.PermissionDenied,
  [Reason.SELF_FOLLOW]: Code.InvalidArgument,
  [Reason.SELF_MESSAGE]: Code.InvalidArgument,
};

/** An error whose message may be shown to the caller. `cause` stays in our logs. */
export function flickError(reason: Reason, message: string, cause?: unknown): ConnectError {
  const detail = { desc: ErrorDetailSchema, value: { reason } };
  return new ConnectError(message, codes[reason], undefined, [detail], cause);
}

/** What a Connect code means when no reason came with it: the error was raised by a transport, not by us. */
const reasons: Partial<Record<Code, Reason>> = {
  [Code.InvalidArgument]: Reason.INVALID_PARAMETER,
  [Code.Unauthenticated]: Reason.UNAUTHENTICATED,
  [Code.PermissionDenied]: Reason.PERMISSION_DENIED,
  [Code.ResourceExhausted]: Reason.BUSY,
  [Code.Unavailable]: Reason.UNAVAILABLE,
  [Code.Canceled]: Reason.TIMEOUT,
  [Code.DeadlineExceeded]: Reason.TIMEOUT,
};

/** The reason that an error carries, or the nearest one for errors of a transport; INTERNAL for everything else. */
export function reasonOf(error: unknown): Reason {
  if (!(error instanceof ConnectError)) return Reason.INTERNAL;
  const [detail] = error.findDetails(ErrorDetailSchema);
  return detail?.reason || (reasons[error.code] ?? Reason.INTERNAL);
}
