/** Settings as they are stored: objects down to the values, with nothing in them that is left at its default. */
export type StoredSettings = { [name: string]: unknown };

/**
 * Settings with some of them changed.
 *
 * @param changes each `path=value`: a path of names joined by dots, and JSON or else a word; the word `default` takes the setting out.
 * @throws {SyntaxError} for what is not of this form.
 */
export function editSettings(settings: unknown, changes: readonly string[]): StoredSettings {
  const edited: StoredSettings = isObject(settings) ? structuredClone(settings) : {};
  for (const change of changes) {
    const [, path, value] = /^([\w.]+)=(.*)$/s.exec(change) ?? [];
    if (path === undefined || value === undefined) throw new SyntaxError(`"${change}" is not of the form path=value`);
    if (path.split(".").some((name) => name in Object.prototype)) throw new SyntaxError(`${path} is no setting`);
    put(edited, path.split("."), value === "default" ? undefined : parseValue(value));
  }
  return edited;
}

/** The value at a path, undefined where there is none. */
export function valueAt(settings: unknown, path: string): unknown {
  return path.split(".").reduce((at, name) => (isObject(at) ? at[name] : undefined), settings);
}

function put(into: StoredSettings, [name = "", ...rest]: string[], value: unknown): void {
  if (rest.length === 0) {
    if (value === undefined) delete into[name];
    else into[name] = value;
    return;
  }
  const before = into[name];
  const inner = isObject(before) ? before : {};
  put(inner, rest, value);
  if (Object.keys(inner).length === 0) delete into[name];
  else into[name] = inner;
}

function parseValue(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    return text;
  }
}

function isObject(value: unknown): value is StoredSettings {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
