import { element } from "./dom.js";
import { inline } from "./markdown.js";

/**
 * What this page reads of JSON Schema.
 *
 * @typedef {object} Schema
 * @property {string} [$ref]
 * @property {string | string[]} [type]
 * @property {string} [format]
 * @property {string} [description]
 * @property {Record<string, Schema>} [properties]
 * @property {string[]} [required]
 * @property {Schema} [items]
 * @property {Schema[]} [allOf]
 * @property {Schema[]} [oneOf]
 * @property {(string | number)[]} [enum]
 * @property {(string | number | boolean)[]} [examples]
 * @property {string | number} [default]
 * @property {number} [minimum]
 * @property {number} [minLength]
 * @property {number} [maxLength]
 *
 * @typedef {Record<string, Schema>} Schemas
 */

/**
 * A schema with its references followed and its parts put together.
 *
 * @param {Schema} schema
 * @param {Schemas} all
 * @returns {Schema}
 */
export function whole(schema, all) {
  if (schema.$ref) return whole(all[nameOf(schema.$ref)] ?? {}, all);
  if (!schema.allOf) return schema;
  const parts = schema.allOf.map((part) => whole(part, all));
  return {
    type: "object",
    properties: Object.assign({}, ...parts.map((part) => part.properties)),
    required: parts.flatMap((part) => part.required ?? []),
  };
}

/** @param {string} ref */
const nameOf = (ref) => ref.slice(ref.lastIndexOf("/") + 1);

/**
 * The fields of an object, those of the objects in it folded away below them.
 *
 * @param {Schema} schema
 * @param {Schemas} all
 * @returns {HTMLElement}
 */
export function fieldList(schema, all) {
  const { properties = {} } = whole(schema, all);
  return element(
    "ul",
    { class: "fields" },
    ...Object.entries(properties).map(([name, field]) => fieldItem(name, field, all)),
  );
}

/**
 * @param {string} name
 * @param {Schema} field
 * @param {Schemas} all
 * @returns {HTMLElement}
 */
function fieldItem(name, field, all) {
  const inner = field.items ?? field;
  const isObject = whole(inner, all).properties !== undefined;
  return element(
    "li",
    {},
    element("code", { class: "name" }, name),
    " ",
    element("span", { class: "type" }, typeText(field)),
    field.description ? element("p", {}, ...inline(field.description)) : null,
    isObject && element("details", {}, element("summary", {}, `Fields of ${typeText(inner)}`), fieldList(inner, all)),
  );
}

/**
 * In a few words.
 *
 * @param {Schema} schema
 * @returns {string}
 */
export function typeText(schema) {
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.items) return `array of ${typeText(schema.items)}`;
  if (schema.format === "binary") return "file";
  const values = schema.enum?.filter((value, _at, list) => typeof value === "number" || !list.includes(Number(value)));
  if (values) return values.map((value) => JSON.stringify(value)).join(" or ");
  // Numbers may come as their text everywhere; the introduction says so once.
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  const { minLength = 0, maxLength } = schema;
  if (type === "string" && maxLength) return `string, ${minLength} to ${maxLength} characters`;
  return type ?? "object";
}
