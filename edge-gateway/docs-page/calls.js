/**
 * A call of the API, before it is made.
 *
 * @typedef {object} Call
 * @property {string} method
 * @property {string} path
 * @property {[string, string | File][]} values what was filled in
 * @property {boolean} multipart
 * @property {boolean} signed is the token sent along?
 */

/**
 * The address of a call; what a POST says is in its body.
 *
 * @param {Call} call
 * @returns {string}
 */
export function urlOf({ method, path, values }) {
  if (method === "POST") return path;
  const query = new URLSearchParams(texts(values)).toString();
  return query ? `${path}?${query}` : path;
}

/**
 * @param {Call} call
 * @param {string} token
 * @returns {RequestInit}
 */
export function requestOf({ method, values, multipart, signed }, token) {
  const headers = signed && token ? { authorization: `Bearer ${token}` } : undefined;
  return { method, ...(headers && { headers }), ...(method === "POST" && { body: bodyOf(values, multipart) }) };
}

/**
 * The same call for a shell. The token stays out of it: it is in `$TOKEN`.
 *
 * @param {Call} call
 * @param {string} origin
 * @returns {string}
 */
export function curlOf(call, origin) {
  const lines = [`curl -s ${quoted(origin + urlOf(call))}`];
  if (call.signed) lines.push('-H "Authorization: Bearer $TOKEN"');
  if (call.method === "POST") {
    const flag = call.multipart ? "-F" : "--data-urlencode";
    for (const [name, value] of call.values) {
      lines.push(`${flag} ${quoted(value instanceof File ? `${name}=@${value.name}` : `${name}=${value}`)}`);
    }
    if (call.values.length === 0) lines.push("-X POST");
  }
  return lines.join(" \\\n  ");
}

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * @param {Call["values"]} values
 * @param {boolean} multipart
 */
function bodyOf(values, multipart) {
  if (!multipart) return new URLSearchParams(texts(values));
  const form = new FormData();
  // Text first: a service that reads a form as it comes can refuse it before the files.
  for (const [name, value] of values.toSorted((a, b) => Number(isFile(a)) - Number(isFile(b)))) form.set(name, value);
  return form;
}

/** @param {[string, string | File]} value */
const isFile = ([, value]) => value instanceof File;

/**
 * @param {Call["values"]} values
 * @returns {[string, string][]}
 */
function texts(values) {
  return values.flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : []));
}
