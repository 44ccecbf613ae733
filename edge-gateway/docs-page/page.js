import { element, show } from "./dom.js";
import { endpointView } from "./endpoint.js";
import { markdown } from "./markdown.js";
import { operationsOf } from "./operations.js";
import { session } from "./session.js";

/**
 * @typedef {import("./operations.js").OpenApi} OpenApi
 * @typedef {import("./operations.js").Operation} Operation
 */

const main = part("main");
showToken();
try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  showDocument(/** @type {OpenApi} */ (await response.json()));
} catch (problem) {
  show(main, element("p", { role: "alert" }, `The document could not be read: ${String(problem)}`));
}

/** @param {OpenApi} source */
function showDocument(source) {
  const operations = operationsOf(source);
  const groups = source.tags
    .map((tag) => ({ ...tag, operations: operations.filter((operation) => operation.tag === tag.name) }))
    .filter((group) => group.operations.length > 0);

  show(
    main,
    element("h1", { id: "top" }, source.info.title, " API"),
    element("p", { class: "lead" }, source.info.summary),
    element(
      "details",
      { class: "introduction" },
      element("summary", {}, "How it speaks"),
      ...markdown(source.info.description),
    ),
    ...groups.map(({ name, description, operations: inGroup }) =>
      element(
        "section",
        { class: "group", "aria-labelledby": `tag-${name}` },
        element("h2", { id: `tag-${name}` }, name),
        description ? element("p", { class: "note" }, description) : null,
        ...inGroup.map((operation) => endpointView(operation, source.components.schemas)),
      ),
    ),
  );
  showIndex(groups);
  addEventListener("hashchange", openNamed);
  openNamed();
}

/** @param {{ name: string, operations: Operation[] }[]} groups */
function showIndex(groups) {
  const index = part("index");
  const filter = /** @type {HTMLInputElement} */ (part("filter"));
  filter.addEventListener("input", update);
  update();

  function update() {
    const wanted = filter.value.trim().toLowerCase();
    /** @param {Operation} operation */
    const matches = ({ path, summary, method }) => `${method} ${path} ${summary}`.toLowerCase().includes(wanted);
    const lists = groups.flatMap(({ name, operations }) => {
      const found = operations.filter(matches);
      return found.length === 0 ? [] : [element("h2", {}, name), element("ul", {}, ...found.map(indexItem))];
    });
    show(
      index,
      ...(lists.length === 0 ? [element("p", { class: "note", role: "status" }, "Nothing is called so.")] : lists),
    );
  }
}

/** @param {Operation} operation */
function indexItem({ id, method, summary }) {
  const open = () => {
    // The address may be this one already, and then nothing else would say so.
    if (location.hash === `#${id}`) openNamed();
  };
  return element(
    "li",
    {},
    element(
      "a",
      { href: `#${id}`, onclick: open },
      element("span", { class: `method ${method.toLowerCase()}` }, method),
      " ",
      summary,
    ),
  );
}

/** Opens the endpoint that the address names. */
function openNamed() {
  const named = document.getElementById(location.hash.slice(1));
  if (!(named instanceof HTMLDetailsElement)) return;
  named.open = true;
  named.scrollIntoView();
  named.querySelector("summary")?.focus({ preventScroll: true });
}

function showToken() {
  const input = /** @type {HTMLInputElement} */ (part("token"));
  const forget = part("forget");
  const update = () => {
    input.value = session.token;
    forget.hidden = session.token === "";
  };
  input.addEventListener("change", () => (session.token = input.value.trim()));
  forget.addEventListener("click", () => (session.token = ""));
  part("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    session.token = input.value.trim();
  });
  session.onChange(update);
  update();
}

/** @param {string} id */
function part(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}
