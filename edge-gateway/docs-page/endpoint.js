import { copyButton, element, show } from "./dom.js";
import { jsonView } from "./json-view.js";
import { inline, markdown } from "./markdown.js";
import { fieldList, typeText } from "./schema.js";
import { tryIt } from "./try-it.js";

/**
 * @typedef {import("./operations.js").Operation} Operation
 * @typedef {import("./operations.js").Answer} Answer
 * @typedef {import("./operations.js").Example} Example
 * @typedef {import("./schema.js").Schemas} Schemas
 */

/**
 * One operation: a line that opens to all that there is to know, which is made when it is opened first.
 *
 * @param {Operation} operation
 * @param {Schemas} schemas
 */
export function endpointView(operation, schemas) {
  const { id, method, path, summary } = operation;
  const body = element("div", { class: "endpoint-body" });
  const view = element(
    "details",
    { class: "endpoint", id },
    element(
      "summary",
      {},
      element("span", { class: `method ${method.toLowerCase()}` }, method),
      element("code", { class: "path" }, path),
      element("span", { class: "what" }, summary),
      operation.tokenRequired && element("span", { class: "access" }, "token"),
    ),
    body,
  );
  view.addEventListener("toggle", () => {
    if (view.open && !body.hasChildNodes())
      show(body, about(operation, schemas), element("section", {}, element("h3", {}, "Try it"), tryIt(operation)));
  });
  return view;
}

/**
 * @param {Operation} operation
 * @param {Schemas} schemas
 */
function about(operation, schemas) {
  const { description, fields, answers } = operation;
  return element(
    "section",
    {},
    ...(description ? markdown(description) : []),
    element("p", { class: "note" }, access(operation)),
    element("h3", {}, "Parameters"),
    fields.length === 0 ? element("p", { class: "note" }, "None.") : parameterList(operation),
    element("h3", {}, "Answers"),
    ...Object.entries(answers)
      .filter(([status]) => status !== "default")
      .map(([status, answer]) => answerView(status, answer, schemas)),
  );
}

/** @param {Operation} operation */
function access({ signed, tokenRequired }) {
  if (tokenRequired) return "Needs a token.";
  return signed ? "A token is welcome, and adds the caller's own view." : "Needs no token, and looks at none.";
}

/** @param {Operation} operation */
function parameterList({ fields }) {
  return element(
    "ul",
    { class: "fields" },
    ...fields.map(({ name, required, schema }) =>
      element(
        "li",
        {},
        element("code", { class: "name" }, name),
        " ",
        element("span", { class: "type" }, typeText(schema)),
        required && element("span", { class: "required" }, "required"),
        schema.description ? element("p", {}, ...inline(schema.description)) : null,
      ),
    ),
  );
}

/**
 * @param {string} status
 * @param {Answer} answer
 * @param {Schemas} schemas
 */
function answerView(status, { description, content = {} }, schemas) {
  const json = content["application/json"];
  const stream = content["text/event-stream"];
  const event = stream?.["x-event-data"];
  return element(
    "details",
    { class: "answer-kind" },
    element(
      "summary",
      {},
      element("span", { class: status === "200" ? "status good" : "status bad" }, status),
      element("span", {}, ...inline(description)),
    ),
    event && element("p", {}, "Each event is a ", element("code", {}, typeText(event)), ":"),
    event && fieldList(event, schemas),
    status === "200" && !event && json?.schema ? fieldList(json.schema, schemas) : null,
    ...Object.entries({ ...stream?.examples, ...json?.examples }).map(([name, example]) => exampleView(name, example)),
  );
}

/**
 * @param {string} name
 * @param {Example} example
 */
function exampleView(name, { value }) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return element(
    "details",
    { class: "example" },
    element("summary", {}, `Example: ${name}`),
    element(
      "div",
      { class: "code-head" },
      element("span"),
      copyButton(() => text),
    ),
    jsonView(text),
  );
}
