/**
 * @typedef {Node | string | null | undefined | false} Child
 * @typedef {Record<string, string | boolean | undefined | ((event: Event) => void)>} Attributes
 */

/**
 * Makes an element. Attributes that begin with `on` are listeners, `true` is an attribute without a value, and false or undefined is none.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...present(children));
  return made;
}

/**
 * Shows other children in place of those that an element has.
 *
 * @param {Element} parent
 * @param {Child[]} children
 */
export function show(parent, ...children) {
  parent.replaceChildren(...present(children));
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
function present(children) {
  return children.filter((child) => child !== null && child !== undefined && child !== false);
}

/**
 * A button that copies what `text` gives when it is pressed.
 *
 * @param {() => string} text
 */
export function copyButton(text) {
  const button = element("button", { type: "button", class: "quiet" }, "Copy");
  button.addEventListener("click", () => {
    navigator.clipboard.writeText(text()).then(
      () => say("Copied"),
      () => say("Not allowed"),
    );
  });
  return button;

  /** @param {string} word */
  function say(word) {
    button.textContent = word;
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
}
