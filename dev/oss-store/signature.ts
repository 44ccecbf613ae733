import { createHash, createHmac, timingSafeEqual } from "node:crypto";

import { accessDenied, invalidArgument, notImplemented, OssError } from "./errors.ts";

type Caller = "owner" | "anonymous";

interface Credentials {
  accessKeyId: string;
  accessKeySecret: string;
  /** With or without the `oss-` that endpoints put before it. */
  region: string;
  bucket: string;
}

/** What a signature covers; key and query are decoded. */
interface SignableRequest {
  method: string;
  /** Empty for the bucket itself. */
  key: string;
  query: ReadonlyMap<string, string>;
  headers: Headers;
}

const algorithm = "OSS4-HMAC-SHA256";
const unsignedPayload = "UNSIGNED-PAYLOAD";
/** How far the clocks of client and store may be apart. */
const maxSkewMs = 15 * 60_000;
const maxExpiresSeconds = 604_800;

/** @throws {OssError} when the request carries a signature that is not valid (any more). */
type Authenticate = (request: SignableRequest, now: number) => Caller;

/**
 * Tells who sent a request by OSS's signature version 4 in its `authorization` header or in its query (a presigned URL).
 * Sources: https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4 and
 * https://www.alibabacloud.com/help/en/oss/developer-reference/add-signatures-to-urls
 */
export function createAuthenticator(credentials: Credentials): Authenticate {
  const region = credentials.region.replace(/^oss-/, "");
  const keyId = Buffer.from(credentials.accessKeyId);

  return (request, now) => {
    const claim = readClaim(request);
    if (claim === null) return "anonymous";
    const [id = "", day = "", ...scope] = claim.credential.split("/");
    if (day !== claim.date.slice(0, 8) || scope.join("/") !== `${region}/oss/aliyun_v4_request`) {
      const expected = `<AccessKeyId>/<day of x-oss-date>/${region}/oss/aliyun_v4_request`;
      throw invalidArgument(`The credential must be ${expected}.`, "Credential", claim.credential);
    }
    if (!equalInConstantTime(Buffer.from(id), keyId)) {
      const message = "The OSS Access Key Id you provided does not exist in our records.";
      throw new OssError(403, "InvalidAccessKeyId", message, { OSSAccessKeyId: id });
    }
    requireInTime(claim, now);
    const canonical = canonicalRequest(request, claim, credentials.bucket);
    const stringToSign = [algorithm, claim.date, `${day}/${scope.join("/")}`, sha256Hex(canonical)].join("\n");
    const signature = sign(credentials.accessKeySecret, day, region, stringToSign);
    if (!equalInConstantTime(Buffer.from(claim.signature), Buffer.from(signature))) {
      const message =
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
      const details = { OSSAccessKeyId: id, StringToSign: stringToSign, CanonicalRequest: canonical };
      throw new OssError(403, "SignatureDoesNotMatch", message, details);
    }
    return "owner";
  };
}

/** What a request says about its signature. */
interface Claim {
  credential: string;
  /** `yyyymmddThhmmssZ` */
  date: string;
  signedAt: number;
  /** Seconds; only presigned URLs have it. */
  expires: number | null;
  /** Names of signed headers beyond those that always are. */
  additional: string[];
  signature: string;
}

function readClaim({ query, headers }: SignableRequest): Claim | null {
  const authorization = headers.get("authorization");
  const presigned = query.has("x-oss-signature") || query.has("x-oss-signature-version");
  if (query.has("OSSAccessKeyId") || query.has("Signature") || authorization?.startsWith("OSS ")) {
    throw invalidArgument(`Only signature version 4 (${algorithm}) is accepted.`, "Signature", "version 1");
  }
  if (headers.has("x-oss-security-token") || query.has("x-oss-security-token")) throw notImplemented("STS tokens");
  if (authorization !== null && presigned) {
    throw invalidArgument("A request is signed in its header or in its query, not in both.", "Authorization", "");
  }
  if (authorization !== null) return headerClaim(authorization, headers);
  return presigned ? queryClaim(query) : null;
}

function headerClaim(authorization: string, headers: Headers): Claim {
  const [, scheme = "", rest = ""] = /^(\S+)\s+(.*)$/.exec(authorization) ?? [];
  if (scheme !== algorithm)
    throw invalidArgument(`Authorization must begin with ${algorithm}.`, "Authorization", scheme);
  const fields = new Map<string, string>();
  for (const part of rest.split(",")) {
    const at = part.indexOf("=");
    fields.set(part.slice(0, Math.max(at, 0)).trim(), part.slice(at + 1).trim());
  }
  if (headers.get("x-oss-content-sha256") !== unsignedPayload) {
    const value = headers.get("x-oss-content-sha256") ?? "";
    throw invalidArgument(`x-oss-content-sha256 must be ${unsignedPayload}.`, "x-oss-content-sha256", value);
  }
  const additional = fields.get("AdditionalHeaders");
  return {
    credential: required(fields.get("Credential"), "Credential"),
    ...readDate(headers.get("x-oss-date")),
    expires: null,
    additional: additional === undefined ? [] : readHeaderNames(additional),
    signature: required(fields.get("Signature"), "Signature"),
  };
}

function queryClaim(query: SignableRequest["query"]): Claim {
  if (query.get("x-oss-signature-version") !== algorithm) {
    const value = query.get("x-oss-signature-version") ?? "";
    throw invalidArgument(`x-oss-signature-version must be ${algorithm}.`, "x-oss-signature-version", value);
  }
  const expires = required(query.get("x-oss-expires"), "x-oss-expires");
  if (!/^[1-9]\d{0,5}$/.test(expires) || Number(expires) > maxExpiresSeconds) {
    throw invalidArgument(`x-oss-expires must be from 1 to ${maxExpiresSeconds} seconds.`, "x-oss-expires", expires);
  }
  const additional = query.get("x-oss-additional-headers");
  return {
    credential: required(query.get("x-oss-credential"), "x-oss-credential"),
    ...readDate(query.get("x-oss-date") ?? null),
    expires: Number(expires),
    additional: additional === undefined ? [] : readHeaderNames(additional),
    signature: required(query.get("x-oss-signature"), "x-oss-signature"),
  };
}

function readDate(date: string | null): { date: string; signedAt: number } {
  const [, year, month, day, hours, minutes, seconds] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date ?? "") ?? [];
  const signedAt = Date.parse(`${year}-${month}-${day}T${hours}:${minutes}:${seconds}Z`);
  if (date === null || Number.isNaN(signedAt)) {
    throw accessDenied("OSS authentication requires a valid x-oss-date (yyyymmddThhmmssZ).");
  }
  return { date, signedAt };
}

function readHeaderNames(text: string): string[] {
  const names = text.split(";");
  if (!names.every((name, index) => /^[a-z0-9-]+$/.test(name) && name > (names[index - 1] ?? ""))) {
    throw invalidArgument(
      "Additional headers must be in lower case, in order and separated by ;",
      "AdditionalHeaders",
      text,
    );
  }
  return names;
}

function required(value: string | undefined, name: string): string {
  if (!value) throw invalidArgument(`${name} is missing from the signature.`, name, "");
  return value;
}

function requireInTime({ signedAt, expires }: Claim, now: number): void {
  const times = { RequestTime: new Date(signedAt).toISOString(), ServerTime: new Date(now).toISOString() };
  if (signedAt - now > maxSkewMs || (expires === null && now - signedAt > maxSkewMs)) {
    const message = "The difference between the request time and the current time is too large.";
    throw new OssError(403, "RequestTimeTooSkewed", message, {
      MaxAllowedSkewMilliseconds: String(maxSkewMs),
      ...times,
    });
  }
  if (expires !== null && now > signedAt + expires * 1000) throw accessDenied("Request has expired.", times);
}

function canonicalRequest(request: SignableRequest, claim: Claim, bucket: string): string {
  const { method, key, query, headers } = request;
  const parameters = [...query]
    .filter(([name]) => name !== "x-oss-signature")
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => (value === "" ? name : `${name}=${value}`));
  const always = [...headers.keys()].filter(
    (name) => name === "content-type" || name === "content-md5" || name.startsWith("x-oss-"),
  );
  const signed = [...new Set([...always, ...claim.additional])].toSorted();
  return [
    method,
    encode(`/${bucket}/${key}`).replaceAll("%2F", "/"),
    parameters.join("&"),
    signed.map((name) => `${name}:${(headers.get(name) ?? "").trim()}\n`).join(""),
    claim.additional.join(";"),
    unsignedPayload,
  ].join("\n");
}

/** RFC 3986: everything but unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function sign(secret: string, day: string, region: string, stringToSign: string): string {
  const key = [day, region, "oss", "aliyun_v4_request"].reduce<string | Buffer>(hmac, `aliyun_v4${secret}`);
  return hmac(key, stringToSign).toString("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function sha256Hex(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Takes the same time wherever the two differ; only their lengths can be told from it. */
function equalInConstantTime(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
