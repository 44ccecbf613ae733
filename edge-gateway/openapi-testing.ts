import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

type Json = Record<string, unknown>;

interface Answer {
  status: number;
  headers: Headers;
  /** Parsed. */
  body: unknown;
}

export interface Operation {
  id: string;
  method: "GET" | "POST";
  path: string;
  source: Source;
}

interface Source {
  operationId: string;
  summary: string;
  tags: string[];
  security?: Record<string, unknown>[];
  parameters: Parameter[];
  requestBody?: { content: Record<string, { schema: Json; examples?: Record<string, { value: unknown }> }> };
  responses: Record<string, ResponseSource>;
}

interface Parameter {
  name: string;
  required: boolean;
  schema: { type: string | string[]; examples?: (string | number)[] };
}

interface ResponseSource {
  headers?: Record<string, { $ref: string }>;
  content: Record<string, { schema: Json; examples?: Record<string, { value: Json }> }>;
}

/** What an OpenAPI document promises, to hold answers against. */
export interface Contract {
  operations: Operation[];
  /** What is wrong with an answer by the document: its status, its headers, its reason or its body. Fields that are not in it are wrong, too. */
  problemsOf(operation: Operation, answer: Answer): string[];
  /** The fields that every form of a component must have. */
  requiredIn(component: string): string[];
  /** What is wrong with a value by the schema at a JSON pointer. */
  problemsAt(pointer: string, value: unknown): string[];
}

/** @param source the document, parsed. */
export function contractOf(source: unknown): Contract {
  const document = closed(structuredClone(source) as OpenApi);
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema(document, "api");
  const validators = new Map<string, ValidateFunction>();

  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    (["GET", "POST"] as const).flatMap((method): Operation[] => {
      const found = methods[method.toLowerCase()];
      return found ? [{ id: found.operationId, method, path, source: found }] : [];
    }),
  );
  return { operations, problemsOf, problemsAt, requiredIn };

  function problemsOf({ method, path, source: { responses } }: Operation, answer: Answer): string[] {
    const response = responses[answer.status];
    const { status_code: code } = answer.body as { status_code: unknown };
    if (!response) {
      // They are said of all paths at once.
      if (answer.status !== 404 && answer.status !== 405) return [`HTTP ${answer.status} is not documented`];
      return problemsAt("/components/schemas/Envelope", answer.body);
    }
    const { examples = {} } = response.content["application/json"] ?? {};
    const codes = Object.values(examples).map(({ value }) => value["status_code"]);
    const headers = Object.entries(response.headers ?? {});
    const pointer = ["paths", path, method.toLowerCase(), "responses", answer.status, "content", "application/json"];
    return [
      ...(code === 0 || codes.includes(code) ? [] : [`status_code ${String(code)} is not documented`]),
      ...headers
        .filter(([name, { $ref }]) => isRequired($ref) && !answer.headers.has(name))
        .map(([name]) => `the header ${name} is missing`),
      ...problemsAt(`/${[...pointer, "schema"].map(escape).join("/")}`, answer.body),
    ];
  }

  function requiredIn(component: string): string[] {
    const schema = document.components.schemas[component] as Requiring;
    const [first, ...others] = schema.oneOf ?? [schema];
    return (first?.required ?? []).filter((name) => others.every(({ required }) => required?.includes(name)));
  }

  function isRequired(ref: string): boolean {
    return document.components.headers[ref.slice(ref.lastIndexOf("/") + 1)]?.required ?? false;
  }

  function problemsAt(pointer: string, value: unknown): string[] {
    const validate =
      validators.get(pointer) ?? ajv.compile({ $ref: `api#${encodeURI(pointer)}`, unevaluatedProperties: false });
    validators.set(pointer, validate);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(
      (error) => `${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`,
    );
  }
}

interface Requiring {
  required?: string[];
  oneOf?: Requiring[];
}

interface OpenApi {
  paths: Record<string, Record<string, Source>>;
  components: { schemas: Record<string, Json>; headers: Record<string, { required?: boolean }> };
}

/** Clients must bear fields that they do not know; our own answers may have none that the document does not. */
function closed(document: OpenApi): OpenApi {
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    if (name !== "Envelope") schema["unevaluatedProperties"] = false;
  }
  return document;
}

/** For a JSON pointer. */
export const escape = (part: string | number) => String(part).replaceAll("~", "~0").replaceAll("/", "~1");
