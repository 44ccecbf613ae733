import { curlOf, requestOf, urlOf } from "./calls.js";
import { copyButton, element, show } from "./dom.js";
import { readEvents } from "./events.js";
import { jsonView } from "./json-view.js";
import { session } from "./session.js";

/**
 * @typedef {import("./operations.js").Operation} Operation
 * @typedef {import("./operations.js").Field} Field
 * @typedef {import("./calls.js").Call} Call
 */

const maxEvents = 100;

/**
 * A form that makes calls of an operation to the gateway that this page came from, the same call for a shell, and what was answered.
 *
 * @param {Operation} operation
 */
export function tryIt(operation) {
  const answer = element("div", { class: "answer", "aria-live": "polite" });
  const curl = element("code");
  const send = element("button", { type: "submit", class: "send" }, operation.streams ? "Open the stream" : "Send");
  const stop = element("button", { type: "button", class: "quiet", hidden: true }, "Stop");
  const inputs = operation.fields.map((field) => fieldInput(operation, field));
  const form = element(
    "form",
    { class: "try", "aria-label": `Try ${operation.path}`, oninput: update, onsubmit: run },
    ...inputs,
    element("div", { class: "buttons" }, send, stop, operation.signed && tokenHint()),
  );
  update();
  return element(
    "div",
    { class: "trying" },
    form,
    element(
      "div",
      { class: "code-head" },
      element("h4", {}, "In a shell"),
      copyButton(() => curl.textContent ?? ""),
    ),
    element("pre", { tabindex: "0" }, curl),
    answer,
  );

  function update() {
    curl.textContent = curlOf(call(), location.origin);
  }

  /** @returns {Call} */
  function call() {
    const { method, path, signed, multipart } = operation;
    const filled = [...new FormData(form)].filter(([, value]) => (value instanceof File ? value.name : value) !== "");
    return { method, path, signed, multipart, values: filled };
  }

  /** @param {Event} event */
  function run(event) {
    event.preventDefault();
    const ending = new AbortController();
    stop.addEventListener("click", () => ending.abort(), { signal: ending.signal });
    send.disabled = true;
    stop.hidden = false;
    show(answer, element("p", { class: "note" }, "Waiting for the answer…"));
    perform(call(), answer, ending.signal)
      .catch((/** @type {unknown} */ problem) => {
        const text = ending.signal.aborted ? "Stopped." : `No answer: ${String(problem)}`;
        answer.append(element("p", { class: "note" }, text));
      })
      .finally(() => {
        send.disabled = false;
        stop.hidden = true;
      });
  }
}

/**
 * @param {Call} call
 * @param {HTMLElement} answer
 * @param {AbortSignal} signal
 */
async function perform(call, answer, signal) {
  const started = performance.now();
  const response = await fetch(urlOf(call), { ...requestOf(call, session.token), signal });
  const head = answerHead(response, performance.now() - started);
  if (response.body && response.headers.get("content-type")?.startsWith("text/event-stream")) {
    const list = element("ol", { class: "events" });
    show(answer, head, element("p", { class: "note" }, "Events show here as they come."), list);
    await readEvents(response.body, ({ id, data }) => {
      list.prepend(element("li", {}, element("span", { class: "type" }, id), jsonView(data)));
      if (list.children.length > maxEvents) list.lastElementChild?.remove();
    });
    answer.append(element("p", { class: "note" }, "The stream has ended."));
    return;
  }
  const text = await response.text();
  const { status_code: code, token } = envelopeIn(text);
  // A refusal for reasons of business is HTTP 200 all the same.
  if (typeof code === "number" && code > 0)
    head.firstElementChild?.after(element("span", { class: "status bad" }, `status_code ${code}`));
  show(answer, head, jsonView(text), rememberToken(token));
}

/**
 * @param {string} text
 * @returns {{ status_code?: unknown, token?: unknown }}
 */
function envelopeIn(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/**
 * @param {Response} response
 * @param {number} ms
 */
function answerHead(response, ms) {
  const headers = ["retry-after", "ratelimit-remaining", "allow", "x-request-id"].flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [element("div", {}, element("dt", {}, name), element("dd", {}, value))];
  });
  return element(
    "div",
    { class: "answer-head" },
    element("span", { class: response.ok ? "status good" : "status bad" }, `HTTP ${response.status}`),
    element("span", { class: "type" }, `${Math.round(ms)} ms`),
    element("dl", {}, ...headers),
  );
}

/**
 * Register and login answer with a token: from then on it goes along.
 *
 * @param {unknown} token
 */
function rememberToken(token) {
  if (typeof token !== "string" || token === "") return null;
  session.token = token;
  return element("p", { class: "note" }, "The token goes along with your calls from now on, until you close this tab.");
}

function tokenHint() {
  const hint = element("span", { class: "note" });
  const update = () => (hint.textContent = session.token ? "with your token" : "without a token: sign in first");
  session.onChange(update);
  update();
  return hint;
}

/**
 * @param {Operation} operation
 * @param {Field} field
 */
function fieldInput(operation, { name, schema, required }) {
  const id = `${operation.id}-${name}`;
  return element(
    "div",
    { class: "field" },
    element("label", { for: id }, element("code", {}, name), required ? " (required)" : ""),
    input(),
  );

  function input() {
    const [example] = schema.examples ?? [];
    const common = { id, name };
    if (schema.format === "binary") return element("input", { ...common, type: "file" });
    if (schema.enum) return choice(common);
    return element("input", {
      ...common,
      type: schema.format === "password" ? "password" : "text",
      inputmode: schema.type === "string" || schema.type === undefined ? undefined : "numeric",
      placeholder: example === undefined ? undefined : `e.g. ${String(example)}`,
      autocomplete: "off",
    });
  }

  /** @param {{ id: string, name: string }} common */
  function choice(common) {
    const numbers = schema.enum?.filter((value) => typeof value === "number") ?? [];
    const words = new Map(
      [...(schema.description ?? "").matchAll(/(\d+) \((\w+)\)/g)].map(([, number, word]) => [number, word]),
    );
    const options = numbers.map((number) => {
      const word = words.get(String(number));
      return element("option", { value: String(number) }, word ? `${number}: ${word}` : String(number));
    });
    return element("select", common, element("option", { value: "" }, "(none)"), ...options);
  }
}
