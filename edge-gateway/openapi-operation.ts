import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import type { Endpoint } from "./endpoint.ts";
import { emptyOf } from "./fields.ts";
import { failuresOf, reasonSentences } from "./openapi-reasons.ts";
import { exampleOf, refTo, type Json, type JsonSchema } from "./openapi-schemas.ts";

/** What an endpoint's schemas have become. */
export interface OperationSchemas {
  /** Its parameters in one object, or in one for each of its actions; files and the token are among them. A POST has it as a component. */
  request: { name: string; schema: JsonSchema };
  /** Name of the component that is its answer. */
  answer: string;
  /** Of what its events hold, if it answers with some. */
  event?: string | undefined;
  all: Readonly<Record<string, JsonSchema>>;
}

/** `postSomething` would say the method twice: the path alone names the operation. */
export function operationId({ path }: Endpoint): string {
  const words = path.split("/").filter((word) => word !== "" && word !== "douyin");
  return words.map((word, index) => (index === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1))).join("");
}

/** The OpenAPI operation of an endpoint. */
export function operationOf(endpoint: Endpoint, schemas: OperationSchemas): Json {
  const { tag, summary, description, access, method } = endpoint;
  const isPost = method === "POST";
  return {
    operationId: operationId(endpoint),
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    security: {
      public: [],
      optional: [{}, { bearer: [] }, { token: [] }],
      required: [{ bearer: [] }, { token: [] }],
    }[access],
    parameters: queryParameters(schemas, isPost),
    ...(isPost ? { requestBody: requestBodyOf(endpoint, schemas) } : {}),
    responses: responsesOf(endpoint, schemas),
  };
}

type Schemas = Record<string, JsonSchema>;

/** All may also be in the query of a POST; none is required there, because the body may have it. */
function queryParameters({ request }: OperationSchemas, isPost: boolean): Json[] {
  const options = optionsOf(request.schema);
  const merged: Schemas = {};
  for (const [name, schema] of options.flatMap(({ properties }) => Object.entries(properties as Schemas))) {
    merged[name] = merged[name] ? mergeChoices(merged[name], schema) : schema;
  }
  return Object.entries(merged).flatMap(([name, { description, ...schema }]) => {
    // A token in the query has a security scheme of its own, and a file fits into a body only.
    if (name === "token" || isFile(schema)) return [];
    const required = !isPost && options.every((option) => option.required?.includes(name));
    return [{ name, in: "query", required, ...(description ? { description } : {}), schema }];
  });
}

const optionsOf = (schema: JsonSchema) => (schema.oneOf ?? [schema]) as JsonSchema[];

/** What a parameter may be that has other values in another option. */
function mergeChoices(one: JsonSchema, other: JsonSchema): JsonSchema {
  if (!one.enum || !other.enum || one.description === other.description) return one;
  return { ...one, enum: [...one.enum, ...other.enum], description: `${one.description} or ${other.description}` };
}

/** Not required: the query will do, except for files. */
function requestBodyOf({ handle }: Endpoint, { request, all }: OperationSchemas): Json {
  const { name, schema } = request;
  const hasFiles = optionsOf(schema).some(({ properties }) => Object.values(properties as Schemas).some(isFile));
  const whole = { schema: { $ref: refTo(name) } };
  const example = exampleOf(schema, all);
  const plain = { ...(hasFiles ? { schema: withoutFiles(schema) } : whole), examples: { request: { value: example } } };
  return {
    description: "What is in the body wins over what is in the query.",
    required: !handle,
    content: {
      ...(handle ? { "application/x-www-form-urlencoded": plain, "application/json": plain } : {}),
      "multipart/form-data": hasFiles ? whole : plain,
    },
  };
}

function withoutFiles(schema: JsonSchema): JsonSchema {
  const properties = Object.entries(schema.properties as Schemas).filter(([, property]) => !isFile(property));
  return { ...schema, properties: Object.fromEntries(properties) };
}

const isFile = ({ format }: JsonSchema) => format === "binary";

const header = (name: string) => ({ $ref: `#/components/headers/${name}` });

const rateHeaders = {
  "RateLimit-Limit": header("RateLimitLimit"),
  "RateLimit-Remaining": header("RateLimitRemaining"),
  "RateLimit-Reset": header("RateLimitReset"),
  "RateLimit-Policy": header("RateLimitPolicy"),
};

const statusHeaders: Partial<Record<number, Json>> = {
  200: rateHeaders,
  401: { "WWW-Authenticate": header("WwwAuthenticate") },
  429: { "Retry-After": header("RetryAfter"), ...rateHeaders },
  503: { "Retry-After": header("RetryAfter") },
};

function responsesOf(endpoint: Endpoint, schemas: OperationSchemas): Json {
  const failures = failuresOf(endpoint);
  const schema = { $ref: refTo(schemas.answer) };
  const headersOf = (status: number) => ({ "X-Request-Id": header("RequestId"), ...statusHeaders[status] });
  const responses: Json = {
    200: {
      description: failures.has(200) ? "Done, or refused with a `status_code` above 0." : "Done.",
      headers: headersOf(200),
      content: {
        ...(schemas.event ? { "text/event-stream": eventStream(schemas) } : {}),
        "application/json": {
          schema,
          examples: {
            ...(schemas.event ? {} : { success: { summary: "success", value: success(schemas) } }),
            ...failureExamples(endpoint, failures.get(200) ?? []),
          },
        },
      },
    },
  };
  for (const [status, reasons] of failures) {
    if (status === 200) continue;
    responses[status] = {
      description: reasons.map((reason) => reasonSentences[reason]).join(" Or: "),
      headers: headersOf(status),
      content: { "application/json": { schema, examples: failureExamples(endpoint, reasons) } },
    };
  }
  return { ...responses, default: { $ref: "#/components/responses/Error" } };
}

function success({ answer, all }: OperationSchemas): unknown {
  return exampleOf({ $ref: refTo(answer) }, all);
}

/** An error has the endpoint's own fields, too, with nothing in them. */
function failureExamples(endpoint: Endpoint, reasons: readonly Reason[]): Json {
  const empty = emptyOf(endpoint.answer);
  return Object.fromEntries(
    reasons.map((reason) => [
      Reason[reason],
      {
        summary: Reason[reason],
        value: { status_code: reason, status_msg: reasonSentences[reason], ...empty },
      },
    ]),
  );
}

function eventStream({ event = "", all }: OperationSchemas): Json {
  const example = JSON.stringify(exampleOf({ $ref: refTo(event) }, all));
  return {
    schema: { type: "string", description: "Server-sent events. The `data` of each is JSON." },
    "x-event-data": { $ref: refTo(event) },
    examples: { event: { value: `id: 1790000000123-a\ndata: ${example}\n\n` } },
  };
}
