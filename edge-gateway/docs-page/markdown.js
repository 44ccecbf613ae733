import { element } from "./dom.js";

/**
 * The little Markdown that the document is written in: paragraphs, tables, `code`, **strong** and *emphasis*.
 *
 * @param {string} text
 * @returns {HTMLElement[]}
 */
export function markdown(text) {
  return text
    .split(/\n{2,}/)
    .map((block) => (block.startsWith("|") ? table(block) : element("p", {}, ...inline(block))));
}

/**
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)/).map((part) => {
    if (part.startsWith("`")) return element("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return element("strong", {}, part.slice(2, -2));
    if (part.startsWith("*")) return element("em", {}, part.slice(1, -1));
    return part;
  });
}

/** @param {string} block */
function table(block) {
  const [head = [], , ...rows] = block.split("\n").map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  return element(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...head.map((cell) => element("th", { scope: "col" }, ...inline(cell))))),
      element(
        "tbody",
        {},
        ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, ...inline(cell))))),
      ),
    ),
  );
}
