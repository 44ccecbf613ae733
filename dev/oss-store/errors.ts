import { xmlDocument } from "./xml.ts";

/**
 * A refusal in OSS's words. Status, code and message follow OSS's error reference; `details` become elements of the XML body.
 * Source: https://www.alibabacloud.com/help/en/oss/user-guide/http-status-codes
 */
export class OssError extends Error {
  override name = "OssError";
  readonly status: number;
  readonly code: string;
  readonly details: Record<string, string>;

  constructor(status: number, code: string, message: string, details: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

export function accessDenied(message: string, details?: Record<string, string>): OssError {
  return new OssError(403, "AccessDenied", message, details);
}

/** @param value as received; never a signature or a secret. */
export function invalidArgument(message: string, name: string, value: string): OssError {
  return new OssError(400, "InvalidArgument", message, { ArgumentName: name, ArgumentValue: value });
}

/** OSS offers it, this store does not: said plainly, because ignoring it would look like success. */
export function notImplemented(what: string): OssError {
  return new OssError(501, "NotImplemented", `The local object store does not implement ${what}.`);
}

/** The body of an error response. */
export function errorXml(error: OssError, requestId: string, hostId: string): string {
  return xmlDocument("Error", [
    ["Code", error.code],
    ["Message", error.message],
    ["RequestId", requestId],
    ["HostId", hostId],
    ...Object.entries(error.details),
  ]);
}
