import { toJsonSchemaDefs, type JsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";

import type { ParamsSchema } from "./param-schemas.ts";

export type { JsonSchema } from "@valibot/to-json-schema";

/** JSON of an OpenAPI document. */
export type Json = Record<string, unknown>;

/**
 * Converts schemas to JSON Schema, each under its name; one that holds another by identity refers to it.
 *
 * @throws what `@valibot/to-json-schema` has no JSON Schema for.
 */
export function toJsonSchemas(schemas: Record<string, v.GenericSchema>): Record<string, JsonSchema> {
  return toJsonSchemaDefs(schemas, {
    target: "draft-2020-12",
    typeMode: "input",
    overrideRef: ({ referenceId }) => refTo(referenceId),
    overrideSchema: ({ valibotSchema, jsonSchema }) =>
      // The library knows no files; this is how OpenAPI says "any bytes".
      valibotSchema.type === "file" ? { ...jsonSchema, type: "string", format: "binary" } : undefined,
  });
}

/**
 * The schemas with a title in their metadata that are in some others, by that title: those that a document can refer to by a name.
 *
 * @throws when two of them have the same title.
 */
export function titledSchemas(schemas: readonly v.GenericSchema[]): Record<string, v.GenericSchema> {
  const found: Record<string, v.GenericSchema> = {};
  for (const schema of schemas) visit(schema);
  return found;

  function visit(schema: v.GenericSchema): void {
    const title = titleOf(schema);
    if (title !== undefined) {
      if (found[title] === schema) return;
      if (found[title]) throw new Error(`two schemas have the title ${title}`);
      found[title] = schema;
    }
    const { entries = {}, item } = schema as { entries?: Record<string, v.GenericSchema>; item?: v.GenericSchema };
    for (const inner of item ? [item] : Object.values(entries)) visit(inner);
  }
}

export function titleOf(schema: v.GenericSchema): string | undefined {
  const { title } = v.getMetadata(schema);
  return typeof title === "string" ? title : undefined;
}

export const refTo = (name: string) => `#/components/schemas/${name}`;

/** The parameters of all options of a schema. */
export function paramNames(params: ParamsSchema): string[] {
  if (params.type === "object") return Object.keys(params.entries);
  return [...new Set(params.options.flatMap((option) => Object.keys(option.entries)))];
}

/** A value that a schema takes, made of the examples in it; undefined when it has none. */
export function exampleOf(schema: JsonSchema, all: Readonly<Record<string, JsonSchema>>): unknown {
  if (schema.$ref) return exampleOf(all[schema.$ref.slice(refTo("").length)] ?? {}, all);
  if (schema.examples?.[0] !== undefined) return schema.examples[0];
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => exampleOf(part as JsonSchema, all)));
  if (schema.oneOf) return exampleOf(schema.oneOf[0] as JsonSchema, all);
  if (schema.type === "array") return [exampleOf(schema.items as JsonSchema, all)];
  if (schema.type !== "object") return undefined;
  const properties = Object.entries(schema.properties ?? {}).map(([name, property]) => [
    name,
    exampleOf(property as JsonSchema, all),
  ]);
  return Object.fromEntries(properties.filter(([, example]) => example !== undefined));
}
