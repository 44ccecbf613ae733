import { element } from "./dom.js";

const token = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g;

/**
 * JSON with colours; what is no JSON as it is.
 *
 * @param {string} text
 */
export function jsonView(text) {
  const pretty = prettied(text);
  const parts = [];
  let end = 0;
  for (const match of pretty.matchAll(token)) {
    const [found, string, colon] = match;
    const kind = colon ? "key" : string ? "string" : "value";
    const shown = colon ? (string ?? "") : found;
    parts.push(pretty.slice(end, match.index), element("span", { class: `json-${kind}` }, shown));
    end = match.index + shown.length;
  }
  return element("pre", { tabindex: "0" }, element("code", {}, ...parts, pretty.slice(end)));
}

/** @param {string} text */
function prettied(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
