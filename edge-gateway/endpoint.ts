import type { CallOptions } from "@connectrpc/connect";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { Context, Hono } from "hono";
import type * as v from "valibot";

import type { AppDeps } from "./app.ts";
import { emptyOf } from "./fields.ts";
import { callFrom } from "./origin.ts";
import type { ParamsSchema } from "./param-schemas.ts";
import { checkParams, mediaType, queryParams, readParams, tokenFrom, type Params as SentParams } from "./params.ts";
import type { LimitedCall } from "./rate-limit.ts";

export interface GatewayEnv {
  Variables: {
    requestId: string;
    /** Set when an answer was made with the headers that all have. */
    headed?: boolean;
    /** Pattern of the route that took the request. */
    route?: string;
    /** The fields that this endpoint adds to the envelope, with empty values. */
    empty?: Fields;
    /** Id of the viewer, whose token was good; null or absent when there is none, or an upload's token is in its body. */
    viewer?: number | null;
    /** Seconds after which a request that is refused may come again. */
    retryAfter?: number;
    /** Where an answer came from that may be cached. */
    cache?: string;
    /** One of many of its kind, of which not every one needs its line in the log. */
    unlogged?: boolean;
  };
}

export type GatewayContext = Context<GatewayEnv>;

export type Fields = Record<string, unknown>;

type FieldsSchema = v.ObjectSchema<v.ObjectEntries, undefined>;

/**
 * One endpoint of the public API: all that is said about it. The same schemas check its requests, type its handler, give the empty
 * values that its errors carry, and make its part of the OpenAPI document.
 */
export interface Endpoint<Params extends ParamsSchema = ParamsSchema, Answer extends FieldsSchema = FieldsSchema> {
  method: keyof typeof allowed;
  /** Without a slash at its end; it answers with one, too. */
  path: `/${string}`;
  tag: "Accounts" | "Videos" | "Likes" | "Comments" | "Relations" | "Messages" | "Service";
  /** A few words, as a heading. */
  summary: string;
  /** Markdown. */
  description?: string;
  /**
   * Whose call it is. Of a `public` one nobody's: a stale token must not keep anybody from signing in. `optional`: a token only adds
   * the viewer's own view, but it must be a good one.
   */
  access: "public" | "optional" | "required";
  /** From the query and, but for a GET, the body; all but the token, which every endpoint that is not public takes. */
  params: Params;
  /** A parameter that means something when it is empty. */
  mayBeEmpty?: string;
  /** Files that a multipart body brings. They and the fields beside them are checked by the service that they stream to. */
  files?: FieldsSchema;
  /** What it adds to the envelope. */
  answer: Answer;
  /** What each event of its stream holds, where it answers with server-sent events in place of the envelope. */
  events?: FieldsSchema;
  /** Counted exactly, under this name. */
  limit?: LimitedCall;
  /** Reasons why it may fail, besides those that follow from the rest of this declaration. */
  errors?: readonly Reason[];
  /** Answers a request; what it throws becomes the error envelope. Absent when only an upload will do. */
  handle?(request: EndpointRequest<v.InferOutput<Params>>, deps: AppDeps): Promise<v.InferInput<Answer> | Response>;
  /** Answers a request whose body is multipart, none of which has been read. */
  upload?(c: GatewayContext, deps: AppDeps): Promise<v.InferInput<Answer>>;
}

/** What a handler gets. */
export interface EndpointRequest<Params> {
  params: Params;
  /** The viewer's; undefined when there is none, or the endpoint is public. */
  token: string | undefined;
  /** How to call the origin for this request. */
  call: CallOptions;
  c: GatewayContext;
}

/** Declares an endpoint; its handler's types follow from its schemas. */
export function endpoint<Params extends ParamsSchema, Answer extends FieldsSchema>(
  declaration: Endpoint<Params, Answer>,
): Endpoint {
  return declaration;
}

const allowed = { GET: "GET, HEAD, OPTIONS", POST: "POST, OPTIONS" };

/** Serves endpoints. */
export function addEndpoints(app: Hono<GatewayEnv>, endpoints: readonly Endpoint[], deps: AppDeps): void {
  for (const declared of endpoints) addEndpoint(app, declared, deps);
}

function addEndpoint(app: Hono<GatewayEnv>, declared: Endpoint, deps: AppDeps): void {
  const { path, answer } = declared;
  const empty = emptyOf(answer);
  app.all(path, async (c) => {
    c.set("route", path);
    c.set("empty", empty);
    const answered = await answerOf(declared, c, deps);
    return answered instanceof Response ? answered : c.json({ status_code: 0, status_msg: "success", ...answered });
  });
}

async function answerOf(declared: Endpoint, c: GatewayContext, deps: AppDeps): Promise<Fields | Response> {
  const { limits } = deps;
  let request: ReadRequest;
  try {
    request = await readRequest(declared, c, deps);
  } finally {
    // Also of what is not as it should be; only now it is known whose it is.
    await limits.request(c);
  }
  const { upload, handle, limit } = declared;
  if (request === "upload") {
    if (limit) await limits.call(c, limit, "");
    if (!upload) throw new Error(`${declared.path} takes no upload`);
    return upload(c, deps);
  }
  if (!handle) throw new Error(`${declared.path} has no handler`);
  const { sent, token } = request;
  const params = checkParams(declared.params, sent);
  const succeeded = limit && (await limits.call(c, limit, sent.get("username") ?? ""));
  const answer = await handle(new CheckedRequest(params, token, c), deps);
  succeeded?.();
  return answer;
}

/**
 * A class, because of its getter: one in an object literal gives each object a shape of its own, and V8 keeps shapes, with the request and the
 * answer that hang on them, until it collects all of its memory.
 */
class CheckedRequest<Params> implements EndpointRequest<Params> {
  readonly params: Params;
  readonly token: string | undefined;
  readonly c: GatewayContext;

  constructor(params: Params, token: string | undefined, c: GatewayContext) {
    this.params = params;
    this.token = token;
    this.c = c;
  }

  /** Made when it is looked at: an answer out of a cache needs none. */
  get call(): CallOptions {
    return callFrom(this.c, this.token);
  }
}

type ReadRequest = "upload" | { sent: SentParams; token: string | undefined };

/** What came, and whose it is. */
async function readRequest(declared: Endpoint, c: GatewayContext, deps: AppDeps): Promise<ReadRequest> {
  const { method, access, mayBeEmpty } = declared;
  const asked = c.req.method === "HEAD" ? "GET" : c.req.method;
  if (asked !== method) {
    c.header("allow", allowed[method]);
    throw flickError(Reason.METHOD_NOT_ALLOWED, `This path takes ${method} requests.`);
  }
  if (declared.upload && (!declared.handle || isMultipart(c))) {
    // A token may follow in the body, where the service looks for it.
    await identify(c, queryParams(c.req.url), "optional", deps);
    return "upload";
  }
  const sent = await readParams(c.req.raw, mayBeEmpty === undefined ? {} : { mayBeEmpty });
  return { sent, token: await identify(c, sent, access, deps) };
}

/** Whose call it is. @returns the token, undefined when there is none. */
async function identify(
  c: GatewayContext,
  sent: SentParams,
  access: Endpoint["access"],
  { auth }: AppDeps,
): Promise<string | undefined> {
  if (access === "public") return undefined;
  const token = tokenFrom(c.req.raw.headers, sent);
  if (token !== undefined) await auth.identify(c, token);
  else if (access === "required") throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
  return token;
}

function isMultipart(c: GatewayContext): boolean {
  return mediaType(c.req.header("content-type") ?? "") === "multipart/form-data";
}
