import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import { createBoundedMap } from "./bounded-map.ts";
import type { ParamsSchema } from "./param-schemas.ts";
import { readBody } from "./read-body.ts";
import type { Soon } from "./soon.ts";

/** Named values of a request. One that is empty counts as absent and is not here, unless it was asked for. */
export type Params = ReadonlyMap<string, string>;

/**
 * The parameters of a request, from wherever its client put them: the query and, but for a GET, an urlencoded, JSON or multipart
 * body of at most 64 KiB. The body wins over the query, and the first of several values of one name over the others.
 *
 * @param mayBeEmpty a parameter that means something when it is empty.
 * @throws TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, or INVALID_PARAMETER for a body that is not what its content type says.
 */
export function readParams(request: Request, mayBeEmpty?: string): Soon<Params> {
  const { method, url } = request;
  if (method === "GET" || method === "HEAD") return queryParams(url, mayBeEmpty);
  return bodyFields(request).then((fields) => {
    const params = new Map<string, string>();
    addFirst(params, fields, mayBeEmpty);
    addFirst(params, queryOf(url), mayBeEmpty);
    return params;
  });
}

/** Only those in the query; see {@link readParams}. */
export function queryParams(url: string, mayBeEmpty?: string): Params {
  const params = new Map<string, string>();
  addFirst(params, queryOf(url), mayBeEmpty);
  return params;
}

/** Most requests have none, and a URL is dear to take apart. */
const queryOf = (url: string): NamedValues => (url.includes("?") ? new URL(url).searchParams : []);

/**
 * The parameters that a schema describes, as what they mean.
 *
 * @throws INVALID_PARAMETER with the name of the first that is absent or not as it must be.
 */
export function checkParams<Schema extends ParamsSchema>(schema: Schema, params: Params): v.InferOutput<Schema> {
  const defaults = params.size === 0 ? defaultsOf.get(schema) : undefined;
  if (defaults) return defaults as v.InferOutput<Schema>;
  const result = v.safeParse(schema, Object.fromEntries(params), { abortEarly: true });
  if (result.success && params.size === 0) defaultsOf.set(schema, Object.freeze(result.output));
  if (result.success) return result.output;
  const [issue] = result.issues;
  const name = String(issue.path?.[0]?.key);
  throw invalid(issue.input === undefined ? `${name} is missing.` : `${name} ${issue.message}`);
}

/** What schemas make of a request without parameters, which is what most requests for the feed are. */
const defaultsOf = new WeakMap<ParamsSchema, object>();

/**
 * The viewer's token: from `authorization: Bearer …`, else from the parameter `token`; undefined when there is none.
 *
 * @throws UNAUTHENTICATED when it has characters that no token has, and so could not travel in a header.
 */
export function tokenFrom(headers: Headers, params: Params): string | undefined {
  const header = headers.get("authorization") ?? "";
  const known = tokensOfHeaders.get(header);
  if (known !== undefined) return known;
  const bearer = /^bearer\s+(\S.*)$/i.exec(header)?.[1]?.trim();
  const token = bearer || params.get("token");
  if (token !== undefined && !/^[\x21-\x7e]{1,4096}$/.test(token))
    throw flickError(Reason.UNAUTHENTICATED, "the token is not valid: sign in again");
  if (bearer && header.length <= longestKnownHeader) tokensOfHeaders.set(header, bearer);
  return token;
}

/** Tokens that were in good form. Viewers send theirs again and again, and to look at each character costs more than to know it. */
const tokensOfHeaders = createBoundedMap<string, string>(2_000);
const longestKnownHeader = 1_024;

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

function invalid(message: string) {
  return flickError(Reason.INVALID_PARAMETER, message);
}
