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
import type { Handler, Serve } from "./serve.ts";
import { andThen, type Soon } from "./soon.ts";

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
  /** Files that a multipart body brings. They and the fields beside them are checked by the service whose upload it is. */
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
  handle?(request: EndpointRequest<v.InferOutput<Params>>, deps: AppDeps): Soon<v.InferInput<Answer> | Response>;
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
export function addEndpoints(app: Hono<GatewayEnv>, serve: Serve, endpoints: readonly Endpoint[], deps: AppDeps): void {
  for (const declared of endpoints) addEndpoint(app, serve, declared, deps);
}

function addEndpoint(app: Hono<GatewayEnv>, serve: Serve, declared: Endpoint, deps: AppDeps): void {
  const { path, answer } = declared;
  const empty = emptyOf(answer);
  const answerWith: Handler = (c) => {
    c.set("route", path);
    c.set("empty", empty);
    return andThen(answerOf(declared, c, deps), (answered) =>
      answered instanceof Response ? answered : c.json({ status_code: 0, status_msg: "success", ...answered }),
    );
  };
  app.all(path, serve(answerWith));
}

function answerOf(declared: Endpoint, c: GatewayContext, deps: AppDeps): Soon<Fields | Response> {
  const { upload, handle, limit } = declared;
  return andThen(readCounted(declared, c, deps), (request) => {
    if (request === "upload") {
      if (!upload) throw new Error(`${declared.path} takes no upload`);
      return limited(c, limit, "", deps, () => upload(c, deps));
    }
    if (!handle) throw new Error(`${declared.path} has no handler`);
    const { sent, token } = request;
    const params = checkParams(declared.params, sent);
    return limited(c, limit, sent.get("username") ?? "", deps, () =>
      handle(new CheckedRequest(params, token, c), deps),
    );
  });
}

/** Answers a call that is counted by itself, if it is, when its limit allows. */
function limited<T>(
  c: GatewayContext,
  limit: LimitedCall | undefined,
  account: string,
  { limits }: AppDeps,
  answer: () => Soon<T>,
): Soon<T> {
  if (!limit) return answer();
  return limits.call(c, limit, account).then(async (succeeded) => {
    const answered = await answer();
    succeeded();
    return answered;
  });
}

/** Counts what came, also when it is not as it should be; only when it is read it is known whose it is. */
function readCounted(declared: Endpoint, c: GatewayContext, deps: AppDeps): Soon<ReadRequest> {
  const counted = (request: ReadRequest) => andThen(deps.limits.request(c), () => request);
  const refused = (error: unknown) =>
    andThen(deps.limits.request(c), (): never => {
      throw error;
    });
  let request: Soon<ReadRequest>;
  try {
    request = readRequest(declared, c, deps);
  } catch (error) {
    return refused(error);
  }
  return request instanceof Promise ? request.then(counted, refused) : counted(request);
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
function readRequest(declared: Endpoint, c: GatewayContext, deps: AppDeps): Soon<ReadRequest> {
  const { method, access, mayBeEmpty } = declared;
  const asked = c.req.method === "HEAD" ? "GET" : c.req.method;
  if (asked !== method) {
    c.header("allow", allowed[method]);
    throw flickError(Reason.METHOD_NOT_ALLOWED, `This path takes ${method} requests.`);
  }
  if (declared.upload && (!declared.handle || isMultipart(c))) {
    // A token may follow in the body, where the service looks for it.
    return andThen(identify(c, queryParams(c.req.url), "optional", deps), () => "upload" as const);
  }
  return andThen(readParams(c.req.raw, mayBeEmpty), (sent) =>
    andThen(identify(c, sent, access, deps), (token) => ({ sent, token })),
  );
}

/** Whose call it is. @returns the token, undefined when there is none. */
function identify(
  c: GatewayContext,
  sent: SentParams,
  access: Endpoint["access"],
  { auth }: AppDeps,
): Soon<string | undefined> {
  if (access === "public") return undefined;
  const token = tokenFrom(c.req.raw.headers, sent);
  if (token !== undefined) return andThen(auth.identify(c, token), () => token);
  if (access === "required") throw flickError(Reason.UNAUTHENTICATED, "sign in first: a token is missing");
  return undefined;
}

function isMultipart(c: GatewayContext): boolean {
  return mediaType(c.req.header("content-type") ?? "") === "multipart/form-data";
}
