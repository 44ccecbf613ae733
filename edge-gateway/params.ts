import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { readBody } from "./read-body.ts";

/** Named values of a request. One that is empty counts as absent and is not here, unless it was asked for. */
export type Params = ReadonlyMap<string, string>;

/**
 * The parameters of a request, from wherever its client put them: the query and, but for a GET, an urlencoded, JSON or multipart
 * body of at most 64 KiB. The body wins over the query, and the first of several values of one name over the others.
 *
 * @param options.mayBeEmpty a parameter that means something when it is empty.
 * @throws TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, or INVALID_PARAMETER for a body that is not what its content type says.
 */
export async function readParams(request: Request, options: { mayBeEmpty?: string } = {}): Promise<Params> {
  const { mayBeEmpty } = options;
  const params = new Map<string, string>();
  if (request.method !== "GET" && request.method !== "HEAD") addFirst(params, await bodyFields(request), mayBeEmpty);
  addFirst(params, new URL(request.url).searchParams, mayBeEmpty);
  return params;
}

/** Only those in the query; see {@link readParams}. */
export function queryParams(url: string, options: { mayBeEmpty?: string } = {}): Params {
  const params = new Map<string, string>();
  addFirst(params, new URL(url).searchParams, options.mayBeEmpty);
  return params;
}

/** @throws INVALID_PARAMETER when it is absent. */
export function requiredParam(params: Params, name: string): string {
  const value = params.get(name);
  if (value === undefined) throw invalid(`${name} is missing.`);
  return value;
}

/**
 * An id or a cursor; 0 when absent. Takes digits and, because old clients send ids as formatted floats, also `1234567.0` and
 * `1.234567e+06` (whose plus sign an unencoded query turns into a space).
 *
 * @throws INVALID_PARAMETER unless it is a whole number from 0 up to 2^53.
 */
export function idParam(params: Params, name: string): bigint {
  const value = params.get(name);
  if (value === undefined) return 0n;
  const id = wholeNumber(value);
  if (id === null || id > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${name} must be a whole number below 2^53.`);
  return id;
}

/**
 * An id that the call cannot do without, in the forms of {@link idParam}.
 *
 * @throws INVALID_PARAMETER when it is absent, 0, or no id.
 */
export function requiredIdParam(params: Params, name: string): bigint {
  requiredParam(params, name);
  const id = idParam(params, name);
  if (id === 0n) throw invalid(`${name} must be a whole number above 0.`);
  return id;
}

/**
 * What `action_type` asks for: the first of the actions under 1, the second under 2. Takes numbers in the forms of {@link idParam}.
 *
 * @throws INVALID_PARAMETER when it is absent or names none of them.
 */
export function actionParam<const Actions extends readonly string[]>(
  params: Params,
  actions: Actions,
): Actions[number] {
  const number = wholeNumber(requiredParam(params, "action_type"));
  const action = number === null ? undefined : actions[Number(number) - 1];
  if (action === undefined) {
    throw invalid(`action_type must be ${actions.map((name, index) => `${index + 1} (${name})`).join(" or ")}.`);
  }
  return action;
}

/** Where a page of a list begins (0 for its head) and how much it may hold; see {@link countParam}. */
export function pageParams(params: Params, most = 100): { cursor: bigint; count: number } {
  return { cursor: idParam(params, "cursor"), count: countParam(params, "count", most) };
}

/** How many things a page may hold: at most `most`, whatever was asked for; 0, which leaves it to the service, when absent. */
export function countParam(params: Params, name: string, most: number): number {
  const count = idParam(params, name);
  return count > BigInt(most) ? most : Number(count);
}

/** Clocks of the edge and of the origin may differ by this much; a page's own `next_time` must never count as the future. */
const clockSkewMs = 60_000;

/** Numbers above this are milliseconds: as seconds they would be in the year 5138. */
const mostSeconds = 1e11;

/**
 * A moment in milliseconds since 1970, given in seconds or milliseconds; 0, which means now, when it is absent, 0, negative or in
 * the future.
 *
 * @throws INVALID_PARAMETER when it is not a number.
 */
export function timeParam(params: Params, name: string, now: number): bigint {
  const value = params.get(name);
  if (value === undefined) return 0n;
  if (!/^[+-]?\d+(\.\d*)?(e[+\- ]?\d+)?$/i.test(value))
    throw invalid(`${name} must be a time in seconds or milliseconds since 1970.`);
  const time = Number(value.replace(" ", "+"));
  const ms = Math.floor(time > mostSeconds ? time : time * 1000);
  return ms <= 0 || ms > now + clockSkewMs ? 0n : BigInt(ms);
}

/**
 * The viewer's token: from `authorization: Bearer …`, else from the parameter `token`; undefined when there is none.
 *
 * @throws UNAUTHENTICATED when it has characters that no token has, and so could not travel in a header.
 */
export function tokenFrom(headers: Headers, params: Params): string | undefined {
  const bearer = /^bearer\s+(\S.*)$/i.exec(headers.get("authorization") ?? "")?.[1];
  const token = bearer?.trim() || params.get("token");
  if (token !== undefined && !/^[\x21-\x7e]{1,4096}$/.test(token))
    throw flickError(Reason.UNAUTHENTICATED, "The token is not valid.");
  return token;
}

type NamedValues = Iterable<[string, string]>;

function addFirst(params: Map<string, string>, values: NamedValues, mayBeEmpty?: string): void {
  for (const [name, value] of values) {
    if ((value !== "" || name === mayBeEmpty) && !params.has(name)) params.set(name, value);
  }
}

const maxBodyBytes = 64 * 1024;
const bodyTimeoutMs = 10_000;

async function bodyFields(request: Request): Promise<NamedValues> {
  const body = await readBody(request, { maxBytes: maxBodyBytes, timeoutMs: bodyTimeoutMs });
  if (body.byteLength === 0) return [];
  const contentType = request.headers.get("content-type") ?? "";
  switch (mediaType(contentType)) {
    case "application/x-www-form-urlencoded":
      return new URLSearchParams(new TextDecoder().decode(body));
    case "application/json":
      return jsonFields(body);
    case "multipart/form-data":
      return multipartFields(body, contentType);
    default:
      throw flickError(
        Reason.UNSUPPORTED_MEDIA_TYPE,
        "The body must be application/x-www-form-urlencoded, application/json or multipart/form-data.",
      );
  }
}

/** The media type of a content-type header, without its parameters. */
export function mediaType(contentType: string): string {
  return (contentType.split(";")[0] ?? "").trim().toLowerCase();
}

function jsonFields(body: Uint8Array<ArrayBuffer>): NamedValues {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(body));
  } catch {
    throw invalid("The body is not valid JSON.");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw invalid("The body must be a JSON object.");
  return Object.entries(json).map(([name, value]: [string, unknown]) => {
    if (value === null) return [name, ""];
    if (typeof value === "object") throw invalid(`${name} must be a string or a number.`);
    return [name, typeof value === "string" ? value : JSON.stringify(value)];
  });
}

async function multipartFields(body: Uint8Array<ArrayBuffer>, contentType: string): Promise<NamedValues> {
  const response = new Response(body, { headers: { "content-type": contentType } });
  const form = await response.formData().catch(() => {
    throw invalid("The body is not valid multipart/form-data.");
  });
  return [...form].filter((field): field is [string, string] => typeof field[1] === "string");
}

/** Exact, where a float would round what is beyond 2^53. Null for anything but a whole number that is not negative. */
function wholeNumber(text: string): bigint | null {
  const match = /^(\d{1,64})(?:\.(\d{0,64}))?(?:e([+\- ]?)(\d{1,2}))?$/i.exec(text);
  if (!match) return null;
  const [, whole = "", fraction = "", sign = "", exponent = "0"] = match;
  const digits = BigInt(whole + fraction);
  const shift = (sign === "-" ? -1 : 1) * Number(exponent) - fraction.length;
  if (shift >= 0) return digits * 10n ** BigInt(shift);
  const divisor = 10n ** BigInt(-shift);
  return digits % divisor === 0n ? digits / divisor : null;
}

function invalid(message: string) {
  return flickError(Reason.INVALID_PARAMETER, message);
}
