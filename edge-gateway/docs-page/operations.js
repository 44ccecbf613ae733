import { whole } from "./schema.js";

/**
 * @typedef {import("./schema.js").Schema} Schema
 * @typedef {import("./schema.js").Schemas} Schemas
 *
 * @typedef {object} Field
 * @property {string} name
 * @property {boolean} required
 * @property {Schema} schema
 *
 * @typedef {{ description: string, content?: Record<string, { schema?: Schema, examples?: Record<string, Example>, "x-event-data"?: Schema }> }} Answer
 * @typedef {{ summary?: string, value: unknown }} Example
 *
 * @typedef {object} Operation
 * @property {string} id
 * @property {string} method in capitals
 * @property {string} path
 * @property {string} tag
 * @property {string} summary
 * @property {string} description
 * @property {boolean} signed does it look at a token?
 * @property {boolean} tokenRequired
 * @property {Field[]} fields
 * @property {boolean} multipart does it take files?
 * @property {boolean} streams
 * @property {Record<string, Answer>} answers by HTTP status
 *
 * @typedef {object} SourceOperation
 * @property {string} operationId
 * @property {string[]} tags
 * @property {string} summary
 * @property {string} [description]
 * @property {Record<string, unknown>[]} security
 * @property {{ name: string, required: boolean, description?: string, schema: Schema }[]} parameters
 * @property {{ content: Record<string, { schema: Schema }> }} [requestBody]
 * @property {Record<string, Answer>} responses
 *
 * @typedef {object} OpenApi
 * @property {{ title: string, summary: string, description: string }} info
 * @property {{ name: string, description?: string }[]} tags
 * @property {Record<string, Record<string, SourceOperation | string>>} paths
 * @property {{ schemas: Schemas }} components
 */

/**
 * What this page shows of each operation of a document.
 *
 * @param {OpenApi} document
 * @returns {Operation[]}
 */
export function operationsOf({ paths, components: { schemas } }) {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, source]) =>
      typeof source === "string" ? [] : [operationOf(method.toUpperCase(), path, source, schemas)],
    ),
  );
}

/**
 * @param {string} method
 * @param {string} path
 * @param {SourceOperation} source
 * @param {Schemas} all
 * @returns {Operation}
 */
function operationOf(method, path, source, all) {
  const { operationId, tags, summary, description = "", security, responses } = source;
  const fields = fieldsOf(source, all);
  return {
    id: operationId,
    method,
    path,
    tag: tags[0] ?? "",
    summary,
    description,
    signed: security.length > 0,
    tokenRequired: security.length > 0 && security.every((scheme) => Object.keys(scheme).length > 0),
    fields,
    multipart: fields.some(({ schema }) => schema.format === "binary"),
    streams: responses["200"]?.content?.["text/event-stream"] !== undefined,
    answers: responses,
  };
}

/**
 * The fields of a call, wherever they go: a POST may have them in its query as well as in its body, but only files in the body alone.
 *
 * @param {SourceOperation} source
 * @param {Schemas} all
 * @returns {Field[]}
 */
function fieldsOf({ parameters, requestBody }, all) {
  const body = requestBody && whole(requestBody.content["multipart/form-data"]?.schema ?? {}, all);
  const options = body?.oneOf ?? (body ? [body] : []);
  const files = options.flatMap(({ properties = {} }) =>
    Object.entries(properties).filter(([, { format }]) => format === "binary"),
  );
  /** @param {string} name */
  const isRequired = (name) => options.length > 0 && options.every(({ required }) => required?.includes(name));
  return [
    ...files.map(([name, schema]) => ({ name, schema, required: isRequired(name) })),
    ...parameters.map(({ name, required, description, schema }) => ({
      name,
      required: required || isRequired(name),
      schema: description === undefined ? schema : { ...schema, description },
    })),
  ];
}
