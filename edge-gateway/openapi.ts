import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import type { Endpoint } from "./endpoint.ts";
import { statusOf } from "./errors.ts";
import { operationId, operationOf } from "./openapi-operation.ts";
import { publicReasons, reasonSentences } from "./openapi-reasons.ts";
import { refTo, titledSchemas, titleOf, toJsonSchemas, type Json, type JsonSchema } from "./openapi-schemas.ts";

/** An OpenAPI 3.1 document. */
export interface OpenApi extends Json {
  paths: Record<string, Json>;
  components: { schemas: Record<string, JsonSchema> } & Json;
}

/** Describes the API in OpenAPI 3.1, from what its endpoints declare. */
export function describeApi(endpoints: readonly Endpoint[]): OpenApi {
  const answers: Record<string, v.GenericSchema> = {};
  const events: Record<string, v.GenericSchema> = {};
  for (const endpoint of endpoints) {
    if (answerName(endpoint) !== "Envelope") answers[answerName(endpoint)] = endpoint.answer;
    if (endpoint.events) events[eventName(endpoint)] = endpoint.events;
  }
  const objects = titledSchemas([...Object.values(answers), ...Object.values(events)]);
  const converted = toJsonSchemas({ ...answers, ...events, ...objects });
  const schemas: Record<string, JsonSchema> = { Envelope: envelope, ...converted };
  for (const name of Object.keys(answers)) {
    schemas[name] = { allOf: [{ $ref: refTo("Envelope") }, converted[name] ?? {}] };
  }
  for (const endpoint of endpoints) {
    if (endpoint.method === "POST") schemas[requestName(endpoint)] = requestOf(endpoint);
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "Flick",
      version: "1",
      summary: "Short videos: watch, publish, like, comment, follow, message.",
      description: introduction(),
    },
    servers: [{ url: "/", description: "This gateway" }],
    tags: [
      { name: "Accounts", description: "Signing up and in, and profiles." },
      { name: "Videos", description: "The feed, and publishing." },
      { name: "Likes" },
      { name: "Comments" },
      { name: "Relations", description: "Who follows whom." },
      { name: "Messages", description: "Chat between two people." },
      { name: "Service", description: "About the gateway itself." },
    ],
    paths: Object.fromEntries(endpoints.map((endpoint) => [endpoint.path, pathOf(endpoint, schemas)])),
    components: { schemas, securitySchemes, headers, responses },
  };
}

const answerName = (endpoint: Endpoint) =>
  Object.keys(endpoint.answer.entries).length === 0 ? "Envelope" : `${capital(operationId(endpoint))}Answer`;
const eventName = (endpoint: Endpoint) =>
  (endpoint.events && titleOf(endpoint.events)) ?? `${capital(operationId(endpoint))}Event`;
const requestName = (endpoint: Endpoint) => `${capital(operationId(endpoint))}Request`;
const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

function pathOf(endpoint: Endpoint, all: Record<string, JsonSchema>): Json {
  const { path, method } = endpoint;
  const operation = operationOf(endpoint, {
    request: { name: requestName(endpoint), schema: requestOf(endpoint) },
    answer: answerName(endpoint),
    event: endpoint.events && eventName(endpoint),
    all,
  });
  return { description: `Also at \`${path}/\`.`, [method.toLowerCase()]: operation };
}

/** What may be in an endpoint's body or query: its parameters, its files and, if it looks at one, the token. */
function requestOf({ params, files, access, method }: Endpoint): JsonSchema {
  const more: v.ObjectEntries = {
    ...files?.entries,
    ...(access === "public" || method === "GET" ? {} : { token: tokenField }),
  };
  const options = params.type === "object" ? [params] : params.options;
  const converted = options.map(
    (option) => toJsonSchemas({ it: v.object({ ...option.entries, ...more }) })["it"] ?? {},
  );
  const [only = {}] = converted;
  return converted.length === 1 ? only : { oneOf: converted };
}

const tokenField = v.optional(
  v.pipe(v.string(), v.metadata({ description: "The token, in place of the header `Authorization`." })),
);

const envelope: JsonSchema = {
  type: "object",
  description: "What every answer has; the endpoint's own fields stand beside these.",
  properties: {
    status_code: { type: "integer", minimum: 0, description: "0 for success, else why not.", examples: [0] },
    status_msg: { type: "string", description: "`success`, else a sentence that says why not.", examples: ["success"] },
  },
  required: ["status_code", "status_msg"],
};

const securitySchemes = {
  bearer: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "`Authorization: Bearer …`. It wins over `token`.",
  },
  token: {
    type: "apiKey",
    in: "query",
    name: "token",
    description: "`token` in the query, or as a field of the body.",
  },
};

const headers = {
  RequestId: {
    description: "Names this request in our logs.",
    required: true,
    schema: { type: "string", format: "uuid" },
  },
  RetryAfter: {
    description: "Seconds after which to try again.",
    required: true,
    schema: { type: "integer", minimum: 1 },
  },
  RateLimitLimit: { description: "Requests that are allowed in a period.", schema: { type: "integer", minimum: 0 } },
  RateLimitRemaining: { description: "Requests that are left of it.", schema: { type: "integer", minimum: 0 } },
  RateLimitPolicy: {
    description: "The limit and its period in seconds, as `100;w=10`.",
    schema: { type: "string" },
  },
  RateLimitReset: { description: "Seconds until the next period.", schema: { type: "integer", minimum: 0 } },
  WwwAuthenticate: { description: "`Bearer`.", required: true, schema: { type: "string" } },
};

const responses = {
  Error: {
    description:
      "Anything else that went wrong: 404 for an unknown path, 405 (with `Allow`) for another method, 5xx for what stands before the gateway.",
    content: { "application/json": { schema: { $ref: refTo("Envelope") } } },
  },
};

function introduction(): string {
  return `The API of the "mini Douyin" family of apps, with additions that an old client does not notice.

**Paths** answer with and without a slash at their end, and never redirect.

**Parameters** of a GET are in the query; those of a POST there or in the body, as a form, JSON or multipart. The body wins over the query, and an empty value counts as absent.

**Answers** are JSON with \`status_code\` (0 is success) and \`status_msg\`. A refusal for reasons of business is HTTP 200 with a \`status_code\` above 0 and the endpoint's other fields empty. HTTP 4xx and 5xx are kept for what is not business; they have the same shape.

**Tokens** come from register and login, and go into \`Authorization: Bearer …\` or into the parameter \`token\`.

**Ids** are whole numbers below 2^53. On the way in their text will do, too, also as \`1234567.0\` or \`1.234567e+06\`.

**Lists** take \`cursor\` and \`count\`, and give \`next_cursor\` and \`has_more\`.

| status_code | HTTP | name | what it says |
|---|---|---|---|
${publicReasons.map((reason) => `| ${reason} | ${statusOf(reason)} | ${Reason[reason]} | ${reasonSentences[reason]} |`).join("\n")}`;
}
